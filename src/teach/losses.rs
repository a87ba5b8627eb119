//! The losses of deep metric learning: what a batch of embeddings and labels costs.
//!
//! Three things are kept apart: a loss (a formula, one small file each, with its card), a miner (which tuples a pair
//! loss sees) and a reduction (how the terms become one number). A [`Criterion`] joins them with what is trained beside
//! the head: class weights, biases, centres. Pair and set losses give nothing for a batch without a valid tuple; losses
//! with class weights give a term for every row.
//!
//! An embedding is what comes before the class weights, never the logits. Margins are for training: validation and
//! scoring see logits without them. Every function works in the float type of its tensors, so that tests check
//! gradients in f64.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use candle_core::{D, DType, Device, Result, Tensor, Var, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::miners::{Miner, Reduction, UnknownName};

pub mod ada_cos;
pub mod arc_face;
pub mod center;
pub mod clustering;
pub mod contrastive;
pub mod cos_face;
pub mod l2_softmax;
pub mod lifted;
pub mod magnet;
pub mod mixed;
pub mod n_pair;
pub mod quadruplet;
pub mod softmax;
pub mod sphere_face;
pub mod triplet;

/// Below this square a length or a distance counts as 0 and takes no gradient, where that of the root is infinite.
const TINY_SQUARE: f64 = 1e-12;
/// Stands for −∞ where a sum of exponentials leaves something out; finite, so that no gradient is NaN.
const LEFT_OUT: f64 = -1e30;

/// Why a criterion cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    #[error("loss '{loss}': {parameter} is {found}, expected {} to {}; correct it", expected.start(), expected.end())]
    Parameter { loss: &'static str, parameter: &'static str, found: f64, expected: RangeInclusive<f64> },
    #[error("loss '{loss}': {found} classes, expected at least 2; add a class, for example of synthetic defects")]
    Classes { loss: &'static str, found: usize },
    #[error("loss '{loss}': embeddings of width 0, expected at least 1; give the head a width")]
    Width { loss: &'static str },
    #[error("loss '{loss}' reads the whole batch, but miner '{found}' was asked for; expected miner 'all'")]
    Miner { loss: &'static str, found: Miner },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A loss's parameter: its name, its value and the range that it must lie in.
struct Parameter(&'static str, f64, RangeInclusive<f64>);

/// A closed choice, with its parameters; in a file `name = "triplet"` and the parameters beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Loss {
    Contrastive(contrastive::Contrastive),
    Triplet(triplet::Triplet),
    Quadruplet(quadruplet::Quadruplet),
    Lifted(lifted::Lifted),
    NPair(n_pair::NPair),
    Magnet(magnet::Magnet),
    Clustering(clustering::Clustering),
    Mixed(mixed::Mixed),
    Softmax(softmax::Softmax),
    L2Softmax(l2_softmax::L2Softmax),
    SphereFace(sphere_face::SphereFace),
    CosFace(cos_face::CosFace),
    ArcFace(arc_face::ArcFace),
    AdaCos(ada_cos::AdaCos),
    AdaCosFixed(ada_cos::AdaCosFixed),
    Center(center::Center),
}

impl Loss {
    pub const NAMES: [&str; 16] = [
        "contrastive",
        "triplet",
        "quadruplet",
        "lifted",
        "n-pair",
        "magnet",
        "clustering",
        "mixed",
        "softmax",
        "l2-softmax",
        "sphere-face",
        "cos-face",
        "arc-face",
        "ada-cos",
        "ada-cos-fixed",
        "center",
    ];

    /// The loss of that name with its default parameters, the paper's where it states them.
    /// # Errors  [`UnknownName`], with all names and the nearest.
    pub fn default_of(name: &str) -> std::result::Result<Loss, UnknownName> {
        Ok(match name {
            "contrastive" => Loss::Contrastive(Default::default()),
            "triplet" => Loss::Triplet(Default::default()),
            "quadruplet" => Loss::Quadruplet(Default::default()),
            "lifted" => Loss::Lifted(Default::default()),
            "n-pair" => Loss::NPair(Default::default()),
            "magnet" => Loss::Magnet(Default::default()),
            "clustering" => Loss::Clustering(Default::default()),
            "mixed" => Loss::Mixed(Default::default()),
            "softmax" => Loss::Softmax(Default::default()),
            "l2-softmax" => Loss::L2Softmax(Default::default()),
            "sphere-face" => Loss::SphereFace(Default::default()),
            "cos-face" => Loss::CosFace(Default::default()),
            "arc-face" => Loss::ArcFace(Default::default()),
            "ada-cos" => Loss::AdaCos(Default::default()),
            "ada-cos-fixed" => Loss::AdaCosFixed(Default::default()),
            "center" => Loss::Center(Default::default()),
            _ => return Err(UnknownName { what: "loss", found: name.to_owned(), names: &Loss::NAMES }),
        })
    }

    pub fn name(&self) -> &'static str {
        Loss::NAMES[match self {
            Loss::Contrastive(_) => 0,
            Loss::Triplet(_) => 1,
            Loss::Quadruplet(_) => 2,
            Loss::Lifted(_) => 3,
            Loss::NPair(_) => 4,
            Loss::Magnet(_) => 5,
            Loss::Clustering(_) => 6,
            Loss::Mixed(_) => 7,
            Loss::Softmax(_) => 8,
            Loss::L2Softmax(_) => 9,
            Loss::SphereFace(_) => 10,
            Loss::CosFace(_) => 11,
            Loss::ArcFace(_) => 12,
            Loss::AdaCos(_) => 13,
            Loss::AdaCosFixed(_) => 14,
            Loss::Center(_) => 15,
        }]
    }

    /// Whether it classifies by trained class weights, so that every row has a loss.
    pub fn is_classification(&self) -> bool {
        matches!(
            self,
            Loss::Softmax(_)
                | Loss::L2Softmax(_)
                | Loss::SphereFace(_)
                | Loss::CosFace(_)
                | Loss::ArcFace(_)
                | Loss::AdaCos(_)
                | Loss::AdaCosFixed(_)
                | Loss::Center(_)
        )
    }

    /// Whether a miner chooses its tuples; the others read the whole batch.
    pub fn takes_miner(&self) -> bool {
        matches!(self, Loss::Contrastive(_) | Loss::Triplet(_) | Loss::Quadruplet(_))
    }

    /// Whether it compares embeddings by their direction, so that they should be scored as unit vectors.
    pub fn compares_directions(&self) -> bool {
        match self {
            Loss::Contrastive(loss) => loss.normalise,
            Loss::Triplet(loss) => loss.normalise,
            Loss::Quadruplet(loss) => loss.normalise,
            Loss::Lifted(_) | Loss::NPair(_) | Loss::Magnet(_) | Loss::Softmax(_) | Loss::Center(_) => false,
            Loss::Clustering(_) | Loss::Mixed(_) => true,
            Loss::L2Softmax(_) | Loss::SphereFace(_) | Loss::CosFace(_) | Loss::ArcFace(_) => true,
            Loss::AdaCos(_) | Loss::AdaCosFixed(_) => true,
        }
    }

    /// # Errors  [`LossError::Parameter`] for the first parameter outside its range.
    pub fn check(&self) -> std::result::Result<(), LossError> {
        let outside = |Parameter(_, value, range): &Parameter| !range.contains(value);
        match self.parameters().into_iter().find(outside) {
            None => Ok(()),
            Some(Parameter(parameter, found, expected)) => {
                Err(LossError::Parameter { loss: self.name(), parameter, found, expected })
            }
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        match self {
            Loss::Contrastive(loss) => loss.parameters(),
            Loss::Triplet(loss) => loss.parameters(),
            Loss::Quadruplet(loss) => loss.parameters(),
            Loss::Lifted(loss) => loss.parameters(),
            Loss::NPair(loss) => loss.parameters(),
            Loss::Magnet(loss) => loss.parameters(),
            Loss::Clustering(loss) => loss.parameters(),
            Loss::Mixed(loss) => loss.parameters(),
            Loss::Softmax(_) => Vec::new(),
            Loss::L2Softmax(loss) => loss.parameters(),
            Loss::SphereFace(loss) => loss.parameters(),
            Loss::CosFace(loss) => loss.parameters(),
            Loss::ArcFace(loss) => loss.parameters(),
            Loss::AdaCos(loss) => loss.parameters(),
            Loss::AdaCosFixed(loss) => loss.parameters(),
            Loss::Center(loss) => loss.parameters(),
        }
    }

    fn has_bias(&self) -> bool {
        matches!(self, Loss::Softmax(_) | Loss::L2Softmax(_) | Loss::Center(_))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Loss {
    type Err = UnknownName;

    fn from_str(name: &str) -> std::result::Result<Loss, UnknownName> {
        Loss::default_of(name)
    }
}

/// A loss with its miner and reduction, what is trained beside the head, and what follows the training.
#[derive(Debug)]
pub struct Criterion {
    loss: Loss,
    miner: Miner,
    reduction: Reduction,
    classes: usize,
    width: usize,
    seed: u64,
    class_weights: Option<ClassWeights>,
    /// (C, D); of the center loss.
    centres: Option<Var>,
    /// Of the magnet loss.
    clusters: magnet::Clusters,
    /// s of AdaCos.
    scale: f64,
    /// Training steps so far.
    step: usize,
}

#[derive(Debug)]
struct ClassWeights {
    /// (C, D).
    weights: Var,
    /// (C,).
    bias: Option<Var>,
}

impl Criterion {
    /// * `classes` — C; class 0 is normal
    /// * `width` — D, of the embeddings
    /// * `seed` — of the class weights and of the magnet loss's clusters
    ///
    /// Class weights are Xavier-uniform, in f32 on the CPU.
    /// # Errors  [`LossError`] for a parameter outside its range, fewer than two classes, width 0, or a miner for a
    /// loss that takes none.
    pub fn new(
        loss: Loss,
        miner: Miner,
        reduction: Reduction,
        classes: usize,
        width: usize,
        seed: u64,
    ) -> std::result::Result<Criterion, LossError> {
        loss.check()?;
        let name = loss.name();
        if classes < 2 {
            return Err(LossError::Classes { loss: name, found: classes });
        }
        if width == 0 {
            return Err(LossError::Width { loss: name });
        }
        if miner != Miner::All && !loss.takes_miner() {
            return Err(LossError::Miner { loss: name, found: miner });
        }
        let class_weights = match loss.is_classification() {
            true => Some(ClassWeights::new(classes, width, loss.has_bias(), seed)?),
            false => None,
        };
        let centres = match loss {
            Loss::Center(_) => Some(Var::zeros((classes, width), DType::F32, &Device::Cpu)?),
            _ => None,
        };
        let scale = match &loss {
            Loss::AdaCos(loss) => ada_cos::fixed_scale(classes, loss.lowest_scale),
            Loss::AdaCosFixed(loss) => ada_cos::fixed_scale(classes, loss.lowest_scale),
            _ => 1.0,
        };
        let clusters = magnet::Clusters::default();
        let step = 0;
        Ok(Criterion { loss, miner, reduction, classes, width, seed, class_weights, centres, clusters, scale, step })
    }

    /// The same with its tensors in another float type, that of the embeddings to come.
    pub fn to_dtype(mut self, dtype: DType) -> Result<Criterion> {
        let cast = |var: &mut Var| Var::from_tensor(&var.to_dtype(dtype)?).map(|cast| *var = cast);
        if let Some(class_weights) = &mut self.class_weights {
            cast(&mut class_weights.weights)?;
            class_weights.bias.as_mut().map(cast).transpose()?;
        }
        self.centres.as_mut().map(cast).transpose()?;
        Ok(self)
    }

    /// All that is trained beside the head: class weights (C, D), then biases (C,), then centres (C, D), as far as the
    /// loss has them. Class weights and biases are for the optimiser; centres take no gradient and follow each training
    /// step by their own rule, so that an optimiser leaves them alone.
    pub fn vars(&self) -> Vec<Var> {
        let class_weights = self.class_weights.iter();
        let class_weights = class_weights.flat_map(|head| std::iter::once(&head.weights).chain(&head.bias));
        class_weights.chain(&self.centres).cloned().collect()
    }

    pub fn formula(&self) -> &Loss {
        &self.loss
    }

    /// The scale s of AdaCos, as of the last training step; 1 for other losses.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The training loss, shape (): with margins, and with a step of all that follows the training (the AdaCos scale,
    /// SphereFace's annealing, the centres). None where the batch has no valid tuple.
    ///
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,), below C; class 0 is normal
    /// # Errors  Shapes or labels that do not fit.
    pub fn loss(&mut self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        self.check_batch(embeddings, labels)?;
        if labels.is_empty() {
            return Ok(None);
        }
        if let (Loss::AdaCos(loss), 1..) = (&self.loss, self.step) {
            self.scale = loss.next_scale(&self.cosines(embeddings)?, labels, self.scale)?;
        }
        let terms = match self.training_logits(embeddings, labels)? {
            Some(logits) => self.classification_terms(&logits, embeddings, labels).map(Some)?,
            None => self.tuple_terms(embeddings, labels)?,
        };
        if let (Loss::Center(loss), Some(centres)) = (&self.loss, &self.centres) {
            centres.set(&loss.moved(embeddings, labels, &centres.as_detached_tensor())?)?;
        }
        self.step += 1;
        terms.map(|terms| self.reduction.reduce(&terms)).transpose()
    }

    /// The loss of a batch that is not trained on: logits without margins, nothing changes. None as for
    /// [`Criterion::loss`].
    /// * arguments as for [`Criterion::loss`]
    pub fn validation_loss(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<f64>> {
        self.check_batch(embeddings, labels)?;
        if labels.is_empty() {
            return Ok(None);
        }
        let embeddings = embeddings.detach();
        let terms = match self.logits(&embeddings)? {
            Some(logits) => self.classification_terms(&logits, &embeddings, labels).map(Some)?,
            None => self.tuple_terms(&embeddings, labels)?,
        };
        let number = |terms: Tensor| self.reduction.reduce(&terms)?.to_dtype(DType::F64)?.to_vec0();
        terms.map(number).transpose()
    }

    /// The logits without margins, (N, C); none for a loss without class weights.
    /// * `embeddings` — (N, D)
    pub fn logits(&self, embeddings: &Tensor) -> Result<Option<Tensor>> {
        match &self.loss {
            Loss::Softmax(_) | Loss::Center(_) => self.linear(embeddings).map(Some),
            Loss::L2Softmax(loss) => self.linear(&loss.constrain(embeddings)?).map(Some),
            Loss::SphereFace(loss) => loss.logits(embeddings, &self.cosines(embeddings)?).map(Some),
            Loss::CosFace(loss) => Ok(Some((self.cosines(embeddings)? * loss.scale)?)),
            Loss::ArcFace(loss) => Ok(Some((self.cosines(embeddings)? * loss.scale)?)),
            Loss::AdaCos(_) | Loss::AdaCosFixed(_) => Ok(Some((self.cosines(embeddings)? * self.scale)?)),
            _ => Ok(None),
        }
    }

    /// What stands for each class in the space of the embeddings, (C, D): the centres of the center loss, the class
    /// weights of the other classification losses, none for the rest.
    pub fn prototypes(&self) -> Option<Tensor> {
        let weights = self.class_weights.as_ref().map(|head| &head.weights);
        self.centres.as_ref().or(weights).map(Var::as_detached_tensor)
    }

    /// Finds the magnet loss's clusters anew, for example before each epoch; other losses have none.
    /// * arguments as for [`Criterion::loss`], of as many rows as there are
    pub fn refresh(&mut self, embeddings: &Tensor, labels: &[u32]) -> Result<()> {
        self.check_batch(embeddings, labels)?;
        if let Loss::Magnet(loss) = &self.loss {
            self.clusters = magnet::Clusters::of(embeddings, labels, loss.clusters, self.seed)?;
        }
        Ok(())
    }

    fn training_logits(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        match &self.loss {
            Loss::SphereFace(loss) => {
                loss.margin_logits(embeddings, &self.cosines(embeddings)?, labels, self.step).map(Some)
            }
            Loss::CosFace(loss) => loss.margin_logits(&self.cosines(embeddings)?, labels).map(Some),
            Loss::ArcFace(loss) => loss.margin_logits(&self.cosines(embeddings)?, labels).map(Some),
            _ => self.logits(embeddings),
        }
    }

    fn classification_terms(&self, logits: &Tensor, embeddings: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let terms = softmax::cross_entropy(logits, labels)?;
        match (&self.loss, &self.centres) {
            (Loss::Center(loss), Some(centres)) => {
                terms + loss.pull(embeddings, labels, &centres.as_detached_tensor())?
            }
            _ => Ok(terms),
        }
    }

    fn tuple_terms(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        match &self.loss {
            Loss::Contrastive(loss) => loss.terms(embeddings, labels, self.miner),
            Loss::Triplet(loss) => loss.terms(embeddings, labels, self.miner),
            Loss::Quadruplet(loss) => loss.terms(embeddings, labels, self.miner),
            Loss::Lifted(loss) => loss.terms(embeddings, labels),
            Loss::NPair(loss) => loss.terms(embeddings, labels),
            Loss::Magnet(loss) => loss.terms(embeddings, labels, &self.clusters),
            Loss::Clustering(loss) => loss.terms(embeddings, labels),
            Loss::Mixed(loss) => loss.terms(embeddings, labels),
            _ => Ok(None),
        }
    }

    fn head(&self) -> &ClassWeights {
        self.class_weights.as_ref().expect("a classification loss has class weights")
    }

    fn linear(&self, rows: &Tensor) -> Result<Tensor> {
        let bias = self.head().bias.as_ref().expect("a linear classifier has a bias");
        softmax::linear(rows, &self.head().weights, bias)
    }

    /// cos θ between embeddings and class weights, (N, C).
    fn cosines(&self, embeddings: &Tensor) -> Result<Tensor> {
        unit_rows(embeddings)?.matmul(&unit_rows(&self.head().weights)?.t()?)
    }

    fn check_batch(&self, embeddings: &Tensor, labels: &[u32]) -> Result<()> {
        let (rows, width) = embeddings.dims2()?;
        if width != self.width {
            bail!("embeddings have width {width}, but the loss was made for {}; make it anew", self.width);
        }
        if rows != labels.len() {
            bail!("{rows} embeddings, but {} labels; give one label for each", labels.len());
        }
        match labels.iter().find(|label| **label as usize >= self.classes) {
            Some(label) => bail!("label {label}, expected below {}, the number of classes", self.classes),
            None => Ok(()),
        }
    }
}

impl ClassWeights {
    fn new(classes: usize, width: usize, has_bias: bool, seed: u64) -> Result<ClassWeights> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bound = (6.0 / (classes + width) as f32).sqrt();
        let weights: Vec<f32> = (0..classes * width).map(|_| rng.random_range(-bound..bound)).collect();
        let weights = Var::from_vec(weights, (classes, width), &Device::Cpu)?;
        let bias = if has_bias { Some(Var::zeros(classes, DType::F32, &Device::Cpu)?) } else { None };
        Ok(ClassWeights { weights, bias })
    }
}

/// x/‖x‖ of each row, (N, D); a row of length 0 stays 0 and takes no gradient.
fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    let squares = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let present = squares.gt(TINY_SQUARE)?;
    let lengths = present.where_cond(&squares, &squares.ones_like()?)?.sqrt()?;
    rows.broadcast_div(&lengths)?.broadcast_mul(&present.to_dtype(rows.dtype())?)
}

/// ‖x‖ of each row, (N, 1).
fn lengths(rows: &Tensor) -> Result<Tensor> {
    root(&rows.sqr()?.sum_keepdim(D::Minus1)?)
}

/// The square root, of any shape; 0 without gradient where the square is 0 or, by rounding, below.
fn root(squares: &Tensor) -> Result<Tensor> {
    let present = squares.gt(TINY_SQUARE)?;
    let roots = present.where_cond(squares, &squares.ones_like()?)?.sqrt()?;
    roots * present.to_dtype(squares.dtype())?
}

/// ‖a − b‖² of each row of (N, D) and each of (M, D), (N, M), not below 0.
///
/// ‖a‖² + ‖b‖² − 2⟨a, b⟩ of rows moved by the mean of b, so that little is lost to cancellation.
fn squared_distances(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mean = b.detach().mean_keepdim(0)?;
    let (a, b) = (a.broadcast_sub(&mean)?, b.broadcast_sub(&mean)?);
    let squares = |rows: &Tensor| rows.sqr()?.sum_keepdim(D::Minus1);
    let products = (a.matmul(&b.t()?)? * -2.0)?;
    products.broadcast_add(&squares(&a)?)?.broadcast_add(&squares(&b)?.t()?)?.relu()
}

/// ‖a − b‖ of each two rows, (N, N), 0 on the diagonal.
fn distances(rows: &Tensor) -> Result<Tensor> {
    let others = mask([rows.dim(0)?; 2], rows.device(), |i, j| i != j)?.to_dtype(rows.dtype())?;
    root(&(squared_distances(rows, rows)? * others)?)
}

/// The cells (row, column) of a matrix, (T,).
fn at(matrix: &Tensor, cells: &[[usize; 2]]) -> Result<Tensor> {
    let columns = matrix.dim(1)?;
    let index = cells.iter().map(|[row, column]| (row * columns + column) as u32);
    matrix.flatten_all()?.index_select(&Tensor::from_iter(index, matrix.device())?, 0)
}

/// The values of a matrix, outside the graph.
fn values(matrix: &Tensor) -> Result<Vec<Vec<f64>>> {
    matrix.detach().to_dtype(DType::F64)?.to_vec2()
}

/// 1 where a cell is chosen, (N, M) u8.
fn mask(shape: [usize; 2], device: &Device, chosen: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let [rows, columns] = shape;
    let cells = (0..rows * columns).map(|cell| u8::from(chosen(cell / columns, cell % columns)));
    Tensor::from_iter(cells, device)?.reshape((rows, columns))
}

/// 1 at each row's own class, (N, C) u8.
/// * `logits` — (N, C), for the shape
fn label_mask(labels: &[u32], logits: &Tensor) -> Result<Tensor> {
    mask([labels.len(), logits.dim(1)?], logits.device(), |row, class| labels[row] as usize == class)
}

/// log Σ exp over the chosen cells of each row, (N,); about −10³⁰ where a row has none.
/// * `chosen` — (N, M) u8
/// * `x` — (N, M)
fn log_sum_exp_where(chosen: &Tensor, x: &Tensor) -> Result<Tensor> {
    chosen.where_cond(x, &x.ones_like()?.affine(0.0, LEFT_OUT)?)?.log_sum_exp(1)
}

/// What the tests of all losses share.
#[cfg(test)]
pub(crate) mod check {
    use super::*;

    /// (N, D) in f64.
    pub fn matrix<const N: usize>(rows: &[[f64; N]]) -> Tensor {
        Tensor::from_iter(rows.iter().flatten().copied(), &Device::Cpu).unwrap().reshape((rows.len(), N)).unwrap()
    }

    pub fn numbers(terms: &Tensor) -> Vec<f64> {
        terms.to_vec1().unwrap()
    }

    #[track_caller]
    pub fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} for {expected:?}");
        }
    }

    /// The gradient of `f` at a point agrees with central differences.
    #[track_caller]
    pub fn gradient_agrees<const N: usize>(f: impl Fn(&Tensor) -> Result<Tensor>, at: &[[f64; N]]) {
        let var = Var::from_tensor(&matrix(at)).unwrap();
        var_gradient_agrees("f", || f(&var), &var);
    }

    /// As [`gradient_agrees`], for any variable that `f` depends on.
    #[track_caller]
    pub fn var_gradient_agrees(name: &str, f: impl Fn() -> Result<Tensor>, var: &Var) {
        const STEP: f64 = 1e-6;
        let gradients = f().unwrap().backward().unwrap();
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
        let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let point: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
        let value = |values: Vec<f64>| {
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
            f().unwrap().to_vec0::<f64>().unwrap()
        };
        for (i, found) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut moved = point.clone();
                moved[i] += by;
                moved
            };
            let expected = (value(moved(STEP)) - value(moved(-STEP))) / (2.0 * STEP);
            let slack = 1e-6 * (1.0 + expected.abs());
            assert!((found - expected).abs() < slack, "{name}: gradient {i} is {found}, differences give {expected}");
        }
        value(point);
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::{AdamW, Optimizer};
    use rand_distr::StandardNormal;

    use super::check::{close, matrix, var_gradient_agrees};
    use super::*;

    fn criterion(name: &str, classes: usize, width: usize) -> Criterion {
        let loss = Loss::default_of(name).unwrap();
        Criterion::new(loss, Miner::All, Reduction::Mean, classes, width, 3).unwrap()
    }

    fn criterion_f64(name: &str, classes: usize, width: usize) -> Criterion {
        criterion(name, classes, width).to_dtype(DType::F64).unwrap()
    }

    fn normal(rng: &mut ChaCha8Rng) -> f32 {
        rng.sample(StandardNormal)
    }

    fn random(rows: usize, width: usize, seed: u64) -> Tensor {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f32> = (0..rows * width).map(|_| normal(&mut rng)).collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    fn training_loss(criterion: &Criterion, embeddings: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let terms = match criterion.training_logits(embeddings, labels)? {
            Some(logits) => criterion.classification_terms(&logits, embeddings, labels)?,
            None => criterion.tuple_terms(embeddings, labels)?.expect("the batch has tuples"),
        };
        criterion.reduction.reduce(&terms)
    }

    const LABELS: [u32; 9] = [0, 0, 0, 1, 1, 1, 2, 2, 2];

    #[test]
    fn the_gradient_of_every_loss_agrees_with_differences() {
        for name in Loss::NAMES {
            for seed in 0..3 {
                let criterion = criterion_f64(name, 3, 4);
                let embeddings = Var::from_tensor(&random(9, 4, seed).to_dtype(DType::F64).unwrap()).unwrap();
                let loss = || training_loss(&criterion, &embeddings, &LABELS);
                var_gradient_agrees(name, loss, &embeddings);
                if let Some(head) = &criterion.class_weights {
                    var_gradient_agrees(name, loss, &head.weights);
                    head.bias.iter().for_each(|bias| var_gradient_agrees(name, loss, bias));
                }
            }
        }
    }

    #[test]
    fn the_gradient_with_each_miner_and_reduction_agrees_with_differences() {
        for name in ["contrastive", "triplet", "quadruplet"] {
            for miner in [Miner::SemiHard, Miner::Hard] {
                for reduction in [Reduction::MeanOfNonZero, Reduction::Sum] {
                    let loss = Loss::default_of(name).unwrap();
                    let criterion = Criterion::new(loss, miner, reduction, 3, 4, 0).unwrap();
                    let embeddings = Var::from_tensor(&random(9, 4, 5).to_dtype(DType::F64).unwrap()).unwrap();
                    var_gradient_agrees(name, || training_loss(&criterion, &embeddings, &LABELS), &embeddings);
                }
            }
        }
    }

    #[test]
    fn identical_and_zero_embeddings_give_no_nan() {
        for name in Loss::NAMES {
            for embeddings in
                [Tensor::ones((9, 4), DType::F32, &Device::Cpu), Tensor::zeros((9, 4), DType::F32, &Device::Cpu)]
            {
                let mut criterion = criterion(name, 3, 4);
                let embeddings = Var::from_tensor(&embeddings.unwrap()).unwrap();
                let loss = criterion.loss(&embeddings, &LABELS).unwrap().unwrap();
                assert!(loss.to_vec0::<f32>().unwrap().is_finite(), "{name}: {loss}");
                let gradients = loss.backward().unwrap();
                for var in criterion.vars().iter().chain([&embeddings]) {
                    let Some(gradient) = gradients.get(var) else { continue };
                    let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                    assert!(gradient.iter().all(|value| value.is_finite()), "{name}: {gradient:?}");
                }
            }
        }
    }

    #[test]
    fn a_batch_of_one_row_has_no_tuple_but_a_class() {
        for name in Loss::NAMES {
            let mut criterion = criterion(name, 2, 4);
            let loss = criterion.loss(&random(1, 4, 0), &[1]).unwrap();
            assert_eq!(loss.is_some(), criterion.formula().is_classification(), "{name}");
            assert_eq!(criterion.validation_loss(&random(1, 4, 0), &[1]).unwrap().is_some(), loss.is_some(), "{name}");
            assert!(criterion.loss(&Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap(), &[]).unwrap().is_none());
        }
    }

    #[test]
    fn names_and_files_round_trip() {
        for name in Loss::NAMES {
            let loss: Loss = name.parse().unwrap();
            assert_eq!(loss.name(), name);
            let json = serde_json::to_string(&loss).unwrap();
            assert!(json.starts_with(&format!("{{\"name\":\"{name}\"")), "{json}");
            assert_eq!(serde_json::from_str::<Loss>(&json).unwrap(), loss);
            loss.check().unwrap();
        }
        let loss: Loss = serde_json::from_str(r#"{"name": "arc-face", "scale": 30.0}"#).unwrap();
        assert_eq!(loss, Loss::ArcFace(arc_face::ArcFace { scale: 30.0, margin: 0.5 }));
        assert!(serde_json::from_str::<Loss>(r#"{"name": "arc-face", "scala": 30.0}"#).is_err());
    }

    #[test]
    fn errors_say_what_was_found_and_expected() {
        let error = "arcface".parse::<Loss>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown loss 'arcface', nearest is 'arc-face'; use one of: contrastive, "),
            "{error}"
        );
        let made = |loss, miner, classes, width| {
            Criterion::new(loss, miner, Reduction::Mean, classes, width, 0).map(|_| ()).unwrap_err().to_string()
        };
        let arc_face = || Loss::default_of("arc-face").unwrap();
        assert!(made(arc_face(), Miner::All, 1, 4).contains("1 classes, expected at least 2"));
        assert!(made(arc_face(), Miner::All, 2, 0).contains("width 0"));
        assert!(made(arc_face(), Miner::Hard, 2, 4).contains("miner 'hard' was asked for; expected miner 'all'"));
        let wide = Loss::ArcFace(arc_face::ArcFace { scale: 64.0, margin: 2.0 });
        assert!(made(wide, Miner::All, 2, 4).contains("margin is 2, expected 0 to 1.57"));
        let mut criterion = criterion("triplet", 2, 4);
        assert!(
            criterion.loss(&random(2, 4, 0), &[0, 2]).unwrap_err().to_string().contains("label 2, expected below 2")
        );
        assert!(criterion.loss(&random(2, 4, 0), &[0]).unwrap_err().to_string().contains("2 embeddings, but 1 labels"));
        assert!(criterion.loss(&random(2, 5, 0), &[0, 1]).unwrap_err().to_string().contains("width 5"));
    }

    #[test]
    fn trap_t2_class_weights_and_centres_are_trained() {
        for name in Loss::NAMES {
            let mut criterion = criterion(name, 3, 4);
            let before: Vec<Tensor> = criterion.vars().iter().map(|var| var.copy().unwrap()).collect();
            assert_eq!(before.is_empty(), !criterion.formula().is_classification(), "{name}");
            let mut optimiser = AdamW::new_lr(criterion.vars(), 0.01).unwrap();
            for step in 0..3 {
                let loss = criterion.loss(&random(9, 4, step), &LABELS).unwrap().unwrap();
                if !before.is_empty() {
                    optimiser.backward_step(&loss).unwrap();
                }
            }
            for (before, after) in before.iter().zip(criterion.vars()) {
                let moved = (after.as_tensor() - before).unwrap().abs().unwrap().flatten_all().unwrap();
                assert!(moved.to_vec1::<f32>().unwrap().iter().all(|moved| *moved > 1e-3), "{name}: {moved}");
            }
        }
    }

    #[test]
    fn trap_t2_what_the_optimiser_is_given_is_complete() {
        let shapes = |name| criterion(name, 3, 4).vars().iter().map(|var| var.dims().to_vec()).collect::<Vec<_>>();
        for name in ["sphere-face", "cos-face", "arc-face", "ada-cos", "ada-cos-fixed"] {
            assert_eq!(shapes(name), [vec![3, 4]], "{name}");
        }
        assert_eq!(shapes("softmax"), [vec![3, 4], vec![3]]);
        assert_eq!(shapes("l2-softmax"), [vec![3, 4], vec![3]]);
        assert_eq!(shapes("center"), [vec![3, 4], vec![3], vec![3, 4]]);
    }

    #[test]
    fn trap_t4_what_is_scored_is_the_embedding_and_not_the_logits() {
        for name in Loss::NAMES {
            let criterion = criterion(name, 2, 5);
            let prototypes = criterion.prototypes().map(|prototypes| prototypes.dims().to_vec());
            let logits = criterion.logits(&random(7, 5, 0)).unwrap().map(|logits| logits.dims().to_vec());
            let classifies = criterion.formula().is_classification();
            assert_eq!(prototypes, classifies.then(|| vec![2, 5]), "{name}");
            assert_eq!(logits, classifies.then(|| vec![7, 2]), "{name}");
        }
    }

    #[test]
    fn trap_t5_centres_are_those_of_embeddings_and_not_of_logits() {
        let mut criterion = criterion_f64("center", 2, 3);
        let embeddings = matrix(&[[4.0, 0.0, 8.0], [0.0, 2.0, 0.0]]);
        let classes = |criterion: &Criterion| {
            let logits = criterion.logits(&embeddings).unwrap().unwrap();
            softmax::cross_entropy(&logits, &[0, 1]).unwrap().mean_all().unwrap().to_vec0::<f64>().unwrap()
        };
        let loss = criterion.loss(&embeddings, &[0, 1]).unwrap().unwrap().to_vec0::<f64>().unwrap();
        // Centres start at 0: the pull is half of 0.003 times the mean of 80 and 4.
        close(&[loss - classes(&criterion)], &[0.0015 * 42.0]);
        // c ← 0 − 0.5 (0 − z)/(1 + 1) = z/4.
        let centres = criterion.prototypes().unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(centres, [[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]]);
    }

    #[test]
    fn trap_t9_validation_sees_no_margin() {
        let embeddings = random(9, 4, 2);
        for name in ["sphere-face", "cos-face", "arc-face"] {
            let mut criterion = criterion(name, 3, 4);
            let logits = criterion.logits(&embeddings).unwrap().unwrap();
            let plain = softmax::cross_entropy(&logits, &LABELS).unwrap().mean_all().unwrap().to_vec0::<f32>().unwrap();
            let validation = criterion.validation_loss(&embeddings, &LABELS).unwrap().unwrap();
            assert!((validation - f64::from(plain)).abs() < 1e-5, "{name}: {validation} for {plain}");
            let training = criterion.loss(&embeddings, &LABELS).unwrap().unwrap().to_vec0::<f32>().unwrap();
            assert!(f64::from(training) > validation, "{name}: the margin makes training harder");
        }
    }

    #[test]
    fn trap_t9_no_class_is_favoured_in_validation() {
        // Two class weights at right angles and an embedding between them: with a margin on class 0 alone it would be
        // class 1.
        for name in ["sphere-face", "cos-face", "arc-face"] {
            let criterion = criterion_f64(name, 2, 2);
            criterion.head().weights.set(&matrix(&[[1.0, 0.0], [0.0, 1.0]])).unwrap();
            let loss = |label| criterion.validation_loss(&matrix(&[[1.0, 1.0]]), &[label]).unwrap().unwrap();
            close(&[loss(0), loss(1)], &[2f64.ln(); 2]);
        }
    }

    #[test]
    fn validation_changes_nothing() {
        for name in Loss::NAMES {
            let criterion = criterion(name, 3, 4);
            let before: Vec<Tensor> = criterion.vars().iter().map(|var| var.copy().unwrap()).collect();
            let loss = || criterion.validation_loss(&random(9, 4, 0), &LABELS).unwrap();
            assert_eq!(loss(), loss(), "{name}");
            for (before, after) in before.iter().zip(criterion.vars()) {
                let moved = (after.as_tensor() - before).unwrap().abs().unwrap().sum_all().unwrap();
                assert_eq!(moved.to_vec0::<f32>().unwrap(), 0.0, "{name}");
            }
        }
    }

    #[test]
    fn the_annealing_and_the_dynamic_scale_follow_the_training() {
        let embeddings = random(9, 4, 1);
        let mut sphere_face = criterion("sphere-face", 3, 4);
        let losses: Vec<f32> =
            (0..50).map(|_| sphere_face.loss(&embeddings, &LABELS).unwrap().unwrap().to_vec0().unwrap()).collect();
        assert!(losses.windows(2).all(|pair| pair[1] > pair[0]), "less annealing, more margin: {losses:?}");
        let mut ada_cos =
            Criterion::new(Loss::AdaCos(ada_cos::AdaCos { lowest_scale: 1.0 }), Miner::All, Reduction::Mean, 101, 4, 0)
                .unwrap();
        let first = ada_cos.scale();
        close(&[first], &[2f64.sqrt() * 100f64.ln()]);
        ada_cos.loss(&embeddings, &LABELS).unwrap();
        assert_eq!(ada_cos.scale(), first, "the first step has the fixed scale");
        ada_cos.loss(&embeddings, &LABELS).unwrap();
        assert_ne!(ada_cos.scale(), first);
    }

    /// Points whose class shows in two directions, as places on a circle of radius 1, drowned by three directions of
    /// noise with deviation 8; deviation 0.15 in the rest.
    struct Toy {
        points: Tensor,
        labels: Vec<u32>,
    }

    impl Toy {
        fn new(classes: u32, per_class: usize, rng: &mut ChaCha8Rng) -> Toy {
            let labels: Vec<u32> = (0..classes).cycle().take(per_class * classes as usize).collect();
            let mut values = Vec::new();
            for label in &labels {
                let (sin, cos) = (f32::from(*label as u16) * std::f32::consts::TAU / classes as f32).sin_cos();
                let mean = [cos, sin, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
                let deviation = [0.15, 0.15, 8.0, 8.0, 8.0, 0.15, 0.15, 0.15];
                values.extend(mean.iter().zip(deviation).map(|(mean, deviation)| mean + deviation * normal(rng)));
            }
            Toy { points: Tensor::from_vec(values, (labels.len(), 8), &Device::Cpu).unwrap(), labels }
        }
    }

    /// The share of rows whose nearest other row has their label.
    fn nearest_neighbour_accuracy(embeddings: &Tensor, labels: &[u32]) -> f64 {
        let distances = values(&squared_distances(embeddings, embeddings).unwrap()).unwrap();
        let nearest = |row: usize| {
            let others = (0..labels.len()).filter(|other| *other != row);
            others.min_by(|a, b| distances[row][*a].total_cmp(&distances[row][*b])).unwrap()
        };
        let hits = (0..labels.len()).filter(|row| labels[nearest(*row)] == labels[*row]).count();
        hits as f64 / labels.len() as f64
    }

    /// The accuracy on held-out points before and after 200 steps of a linear head 8 → 4.
    /// * `ascend` — the head climbs the loss, while class weights, trained faster, still descend it
    fn train(mut criterion: Criterion, classes: u32, ascend: bool) -> [f64; 2] {
        const STEPS: usize = 200;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let held_out = Toy::new(classes, 40, &mut rng);
        let head = Var::from_tensor(&(random(4, 8, 102) * 0.3).unwrap()).unwrap();
        let embed = |points: &Tensor| points.matmul(&head.t().unwrap()).unwrap();
        let directions = criterion.formula().compares_directions();
        let accuracy = || {
            let embeddings = embed(&held_out.points);
            let embeddings = if directions { unit_rows(&embeddings).unwrap() } else { embeddings };
            nearest_neighbour_accuracy(&embeddings, &held_out.labels)
        };
        let before = accuracy();
        let mut of_head = AdamW::new_lr(vec![head.clone()], 0.1).unwrap();
        let mut of_criterion = AdamW::new_lr(criterion.vars(), if ascend { 0.1 } else { 0.03 }).unwrap();
        for step in 0..STEPS {
            let batch = Toy::new(classes, 16, &mut rng);
            let embeddings = embed(&batch.points);
            if step % 30 == 0 {
                criterion.refresh(&embeddings, &batch.labels).unwrap();
            }
            let reversed = ((embeddings.detach() * 2.0).unwrap() - &embeddings).unwrap();
            let seen = if ascend { reversed } else { embeddings };
            let loss = criterion.loss(&seen, &batch.labels).unwrap().unwrap();
            let gradients = loss.backward().unwrap();
            of_head.set_learning_rate(0.1 * (1.0 - step as f64 / STEPS as f64));
            of_head.step(&gradients).unwrap();
            of_criterion.step(&gradients).unwrap();
        }
        [before, accuracy()]
    }

    #[test]
    fn every_loss_learns_the_classes_and_with_its_sign_flipped_does_not() {
        for name in Loss::NAMES {
            let [before, after] = train(criterion(name, 3, 4), 3, false);
            let [_, flipped] = train(criterion(name, 3, 4), 3, true);
            assert!(before < 0.8, "{name}: {before} before training");
            assert!(after > 0.95, "{name}: {before} to {after}");
            assert!(flipped < 0.8, "{name}: flipped, {before} to {flipped}");
        }
    }

    #[test]
    fn a_triplet_loss_learns_with_every_miner() {
        for miner in [Miner::All, Miner::SemiHard, Miner::Hard] {
            let loss = Loss::default_of("triplet").unwrap();
            let criterion = Criterion::new(loss, miner, Reduction::MeanOfNonZero, 3, 4, 0).unwrap();
            let [before, after] = train(criterion, 3, false);
            assert!(before < 0.8 && after > 0.95, "{miner}: {before} to {after}");
        }
    }

    #[test]
    fn trap_t14_ada_cos_trains_with_two_classes() {
        for name in ["ada-cos", "ada-cos-fixed"] {
            let [before, after] = train(criterion(name, 2, 4), 2, false);
            assert!(before < 0.8 && after > 0.95, "{name}: {before} to {after}");
        }
    }
}
