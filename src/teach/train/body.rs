use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::standard::Standard;
use super::{HeadShape, Samples, judge};
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::{Head, Projection};
use crate::teach::gaussian::principal_axes;

/// Good rows that the principal axes are found from, at most.
const AXES_ROWS: usize = 5000;

/// A head as it is trained, from standardised channels.
#[derive(Debug)]
pub enum Body {
    /// W (D, C).
    Linear(Var),
    /// A (C, C).
    Residual(Var),
    Mlp {
        /// m (C,), taken from the channels: the bias of the hidden layer, in the form that a [`Head`] has.
        shift: Var,
        /// W (H, C).
        hidden: Var,
        /// V (D, H).
        weight: Var,
        /// b (D,).
        bias: Var,
    },
}

impl Body {
    /// The head before its first step.
    pub fn new(shape: HeadShape, learn: &Samples, standard: &Standard, rng: &mut ChaCha8Rng) -> Result<Body> {
        let channels = learn.embeddings.width();
        match shape {
            HeadShape::Residual => Var::zeros((channels, channels), DType::F32, &Device::Cpu).map(Body::Residual),
            HeadShape::Linear { width } => {
                let good = judge::sample(learn.labels, 0, AXES_ROWS, rng);
                let mut values = standard.values(learn.embeddings, &good);
                // Rows and their opposites have mean 0: where rows are not centred, their mean is a direction to keep.
                values.extend_from_within(..);
                values[good.len() * channels..].iter_mut().for_each(|value| *value = -*value);
                let axes = principal_axes(&Embeddings::new(channels, values, false), width).weight;
                Var::from_vec(axes, (width, channels), &Device::Cpu).map(Body::Linear)
            }
            HeadShape::Mlp { hidden, width } => {
                let weight = random((width, hidden), (1.0 / hidden as f32).sqrt(), rng)?;
                Body::mlp(channels, hidden, weight, rng)
            }
        }
    }

    /// From C channels to one number, 0 for every row before the first step.
    pub fn silent(channels: usize, hidden: usize, rng: &mut ChaCha8Rng) -> Result<Body> {
        Body::mlp(channels, hidden, Var::zeros((1, hidden), DType::F32, &Device::Cpu)?, rng)
    }

    fn mlp(channels: usize, hidden: usize, weight: Var, rng: &mut ChaCha8Rng) -> Result<Body> {
        let zeros = |length: usize| Var::zeros(length, DType::F32, &Device::Cpu);
        let (shift, bias) = (zeros(channels)?, zeros(weight.dim(0)?)?);
        let hidden = random((hidden, channels), (2.0 / channels as f32).sqrt(), rng)?;
        Ok(Body::Mlp { shift, hidden, weight, bias })
    }

    /// D
    pub fn width(&self) -> usize {
        match self {
            Body::Linear(weight) | Body::Residual(weight) | Body::Mlp { weight, .. } => weight.dims()[0],
        }
    }

    pub fn vars(&self) -> Vec<Var> {
        match self {
            Body::Linear(weight) | Body::Residual(weight) => vec![weight.clone()],
            Body::Mlp { shift, hidden, weight, bias } => [shift, hidden, weight, bias].map(Var::clone).to_vec(),
        }
    }

    /// (N, D)
    /// * `rows` — (N, C), standardised
    pub fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Body::Linear(weight) => rows.matmul(&weight.t()?),
            Body::Residual(change) => rows + rows.matmul(&change.t()?)?,
            Body::Mlp { shift, hidden, weight, bias } => {
                let active = rows.broadcast_sub(shift)?.matmul(&hidden.t()?)?.relu()?;
                active.matmul(&weight.t()?)?.broadcast_add(bias)
            }
        }
    }

    /// How far the head has moved from the raw embedding, shape (): ‖A‖²/C of a residual head, so that directions
    /// that no row shows count too; of the others (cos(yᵢ, yⱼ) − cos(xᵢ, xⱼ))², its mean over all i and j.
    ///
    /// * `rows` — (N, C), standardised
    /// * `embeddings` — (N, D), the same after the head
    pub fn strain(&self, rows: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
        match self {
            Body::Residual(change) => change.sqr()?.sum_all()? / change.dim(0)? as f64,
            _ => (cosines(embeddings)? - cosines(&rows.detach())?)?.sqr()?.mean_all(),
        }
    }

    /// The head that does the same to channels that are not standardised.
    pub fn export(&self, standard: &Standard) -> Result<Head> {
        let projection = |weight: &[f32], mean: Vec<f32>| Projection { mean, weight: unstandardised(weight, standard) };
        Ok(match self {
            Body::Linear(weight) => Head::Linear(projection(&numbers(weight)?, standard.mean.clone())),
            Body::Residual(change) => {
                let mut weight = numbers(change)?;
                weight.iter_mut().step_by(change.dim(0)? + 1).for_each(|value| *value += 1.0);
                Head::Linear(projection(&weight, standard.mean.clone()))
            }
            Body::Mlp { shift, hidden, weight, bias } => {
                let moved = |((mean, scale), shift): ((&f32, &f32), f32)| mean + shift / scale;
                let mean = standard.mean.iter().zip(&standard.scale).zip(numbers(shift)?).map(moved).collect();
                let hidden = projection(&numbers(hidden)?, mean);
                Head::Mlp { hidden, weight: numbers(weight)?, bias: numbers(bias)? }
            }
        })
    }
}

/// W · diag(scale) of W (·, C).
fn unstandardised(weight: &[f32], standard: &Standard) -> Vec<f32> {
    let rows = weight.chunks_exact(standard.scale.len());
    rows.flat_map(|row| row.iter().zip(&standard.scale).map(|(weight, scale)| weight * scale)).collect()
}

fn numbers(var: &Var) -> Result<Vec<f32>> {
    var.flatten_all()?.to_vec1()
}

fn random(shape: (usize, usize), deviation: f32, rng: &mut ChaCha8Rng) -> Result<Var> {
    let value = |_| deviation * rng.sample::<f32, _>(StandardNormal);
    let values: Vec<f32> = (0..shape.0 * shape.1).map(value).collect();
    Var::from_vec(values, shape, &Device::Cpu)
}

/// The cosine of every two rows, (N, N).
fn cosines(rows: &Tensor) -> Result<Tensor> {
    let squares = (rows.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?;
    let unit = rows.broadcast_div(&squares.sqrt()?)?;
    unit.matmul(&unit.t()?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn matrix<const N: usize>(rows: &[[f32; N]]) -> Var {
        Var::from_vec(rows.concat(), (rows.len(), N), &Device::Cpu).unwrap()
    }

    fn strain(body: &Body, rows: &[[f32; 2]]) -> f32 {
        let rows = matrix(rows);
        body.strain(&rows, &body.forward(&rows).unwrap()).unwrap().to_vec0().unwrap()
    }

    #[test]
    fn the_strain_of_a_residual_head_is_the_size_of_its_change() {
        let body = Body::Residual(matrix(&[[0.0, 2.0], [0.0, 0.0]]));
        assert_eq!(strain(&body, &[[1.0, 1.0]]), 2.0);
    }

    #[test]
    fn the_strain_of_a_linear_head_is_that_of_its_angles() {
        let rows = [[1.0, 0.0], [0.0, 1.0]];
        let turned = Body::Linear(matrix(&[[0.0, 3.0], [3.0, 0.0]]));
        assert!(strain(&turned, &rows) < 1e-10);
        // Both rows become the same: 2 of the 4 cosines go from 0 to 1.
        let flattened = Body::Linear(matrix(&[[1.0, 1.0]]));
        assert!((strain(&flattened, &rows) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn every_exported_head_gives_the_numbers_of_the_trained_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let values: Vec<f32> = (0..40 * 6).map(|i| 3.0 + (1 + i % 6) as f32 * rng.random_range(-1.0..1.0)).collect();
        let embeddings = Embeddings::new(6, values, false);
        let learn = Samples { embeddings: &embeddings, labels: &[0; 40], kinds: &[0; 40], products: &[0; 40] };
        let standard = Standard::of_good(&learn, true);
        for shape in [HeadShape::Residual, HeadShape::Linear { width: 3 }, HeadShape::Mlp { hidden: 9, width: 4 }] {
            let body = Body::new(shape, &learn, &standard, &mut rng).unwrap();
            for var in body.vars() {
                let moved = random((1, var.elem_count()), 0.2, &mut rng).unwrap().reshape(var.shape()).unwrap();
                var.set(&(var.as_tensor() + moved).unwrap()).unwrap();
            }
            let rows = standard.tensor(&embeddings, &(0..40).collect::<Vec<_>>()).unwrap();
            let trained: Vec<f32> = body.forward(&rows).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let exported = body.export(&standard).unwrap().apply(&embeddings);
            assert_eq!(exported.width(), body.width());
            for (exported, trained) in exported.data().iter().zip(&trained) {
                assert!((exported - trained).abs() < 1e-5, "{shape:?}: {exported} for {trained}");
            }
        }
    }
}
