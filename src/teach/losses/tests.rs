//! What holds for all losses alike.

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
fn a_row_of_every_classification_loss_that_a_person_can_check() {
    // z = (3, 4) of class 0, class weights along the axes, no bias: the cosines are 0.6 and 0.8, and the loss is
    // ln(1 + exp(other logit − own logit)).
    let (scale, margin) = (10.0, 0.8f64.acos());
    let sphere_face = sphere_face::SphereFace { margin: 2, base: 0.0, lowest: 0.0, ..Default::default() };
    let cases = [
        (Loss::Softmax(softmax::Softmax {}), 4.0 - 3.0, 0.0),
        (Loss::L2Softmax(l2_softmax::L2Softmax { scale }), 8.0 - 6.0, 0.0),
        // ‖z‖ = 5 and cos 2θ = 2 · 0.36 − 1.
        (Loss::SphereFace(sphere_face), 4.0 - 5.0 * -0.28, 0.0),
        (Loss::CosFace(cos_face::CosFace { scale, margin: 0.1 }), 8.0 - 5.0, 0.0),
        // The margin takes the own angle to a right one.
        (Loss::ArcFace(arc_face::ArcFace { scale, margin }), 8.0 - 0.0, 0.0),
        // With two classes the floor is the scale.
        (Loss::AdaCos(ada_cos::AdaCos { lowest_scale: 5.0 }), 4.0 - 3.0, 0.0),
        (Loss::AdaCosFixed(ada_cos::AdaCosFixed { lowest_scale: 5.0 }), 4.0 - 3.0, 0.0),
        // And half the weight times ‖z‖², since centres start at 0.
        (Loss::Center(center::Center { weight: 0.1, ..Default::default() }), 4.0 - 3.0, 0.05 * 25.0),
    ];
    for (loss, above, more) in cases {
        let name = loss.name();
        let criterion = Criterion::new(loss, Miner::All, Reduction::Mean, 2, 2, 0).unwrap();
        let mut criterion = criterion.to_dtype(DType::F64).unwrap();
        criterion.head().weights.set(&matrix(&[[1.0, 0.0], [0.0, 1.0]])).unwrap();
        let loss = criterion.loss(&matrix(&[[3.0, 4.0]]), &[0]).unwrap().unwrap().to_vec0::<f64>().unwrap();
        println!("{name}: {loss}");
        close(&[loss], &[f64::exp(above).ln_1p() + more]);
    }
}

#[test]
fn the_gradient_of_every_loss_agrees_with_differences() {
    for name in Loss::NAMES {
        for seed in 0..3 {
            let mut criterion = criterion_f64(name, 3, 4);
            let embeddings = Var::from_tensor(&random(9, 4, seed).to_dtype(DType::F64).unwrap()).unwrap();
            criterion.refresh(&embeddings, &LABELS).unwrap();
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
    assert!(error.starts_with("unknown loss 'arcface', nearest is 'arc-face'; use one of: contrastive, "), "{error}");
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
    assert!(criterion.loss(&random(2, 4, 0), &[0, 2]).unwrap_err().to_string().contains("label 2, expected below 2"));
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
