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

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

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
