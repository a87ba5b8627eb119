//! The promises of the training, on seeded toy sets.

use rand::RngExt;
use rand::SeedableRng;
use rand_distr::StandardNormal;

use super::*;
use crate::teach::losses::LossError;

const CHANNELS: usize = 12;
const CLASSES: usize = 3;

struct Set {
    embeddings: Embeddings,
    labels: Vec<u32>,
    kinds: Vec<u16>,
    products: Vec<u16>,
}

impl Set {
    /// Good rows are noise of deviation 1 around 5; a defect lifts two channels by 2.
    /// * `defects` — class, kind and the two channels
    fn new(rows: usize, defects: &[(u32, u16, [usize; 2])], seed: u64) -> Set {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut set = Set {
            embeddings: Embeddings::new(CHANNELS, vec![], false),
            labels: vec![],
            kinds: vec![],
            products: vec![],
        };
        for &(class, kind, channels) in [(0, 0, [0, 0])].iter().chain(defects) {
            for _ in 0..rows {
                let mut row: Vec<f32> = (0..CHANNELS).map(|_| 5.0 + rng.sample::<f32, _>(StandardNormal)).collect();
                channels.iter().filter(|_| class > 0).for_each(|channel| row[*channel] += 2.0);
                set.embeddings.extend(&Embeddings::new(CHANNELS, row, false));
                set.labels.push(class);
                set.kinds.push(kind);
                set.products.push(0);
            }
        }
        set
    }

    /// Two classes of defects to learn from.
    fn learn() -> Set {
        Set::new(150, &[(1, 1, [8, 9]), (2, 2, [10, 11])], 1)
    }

    /// A third kind of defect, which shares a channel with each.
    fn held_out() -> Set {
        Set::new(150, &[(1, 3, [9, 10])], 2)
    }

    fn samples(&self) -> Samples<'_> {
        Samples { embeddings: &self.embeddings, labels: &self.labels, kinds: &self.kinds, products: &self.products }
    }
}

fn quick(name: &str) -> TrainOptions {
    let options = TrainOptions::for_loss(Loss::default_of(name).unwrap());
    TrainOptions { steps: 200, batch: 48, learning_rate: 0.01, nearness: 0.01, patience: 100, ..options }
}

fn train(options: &TrainOptions) -> Result<Trained, TrainError> {
    train_head(&Set::learn().samples(), &Set::held_out().samples(), options, &|_, _| ())
}

fn best_auroc(trained: &Trained) -> f64 {
    trained.history.iter().find(|check| check.step == trained.best_step).unwrap().auroc
}

#[test]
fn every_loss_trains_a_head_that_tells_a_new_kind_better() {
    for name in Loss::NAMES {
        let trained = train(&TrainOptions { shape: HeadShape::Linear { width: 8 }, ..quick(name) }).unwrap();
        let (start, best) = (trained.history[0].auroc, best_auroc(&trained));
        assert!(best > start, "{name}: {start} at the start, then {best}");
    }
}

#[test]
fn every_shape_is_trained_by_losses_of_both_distances() {
    for shape in [HeadShape::Residual, HeadShape::Linear { width: 8 }, HeadShape::Mlp { hidden: 32, width: 8 }] {
        for name in ["triplet", "magnet"] {
            let trained = train(&TrainOptions { shape, learning_rate: 0.003, ..quick(name) }).unwrap();
            let (start, best) = (trained.history[0].auroc, best_auroc(&trained));
            assert!(best > start + 0.005, "{name}, {shape:?}: {start} at the start, then {best}");
        }
    }
}

#[test]
fn a_residual_head_without_a_step_is_the_standardised_embedding() {
    let set = Set::learn();
    for (name, centred) in [("softmax", true), ("triplet", false)] {
        let trained = train(&TrainOptions { steps: 0, ..quick(name) }).unwrap();
        let all: Vec<usize> = (0..set.labels.len()).collect();
        let expected = standard::Standard::of_good(&set.samples(), centred).values(&set.embeddings, &all);
        assert_eq!(trained.head.apply(&set.embeddings).data(), expected);
        assert_eq!((trained.steps, trained.best_step, trained.history.len()), (0, 0, 1));
    }
}

#[test]
fn a_head_that_only_gets_worse_comes_back_as_it_started() {
    // What is learned lies in channels that the held-out kind does not touch.
    let held_out = Set::new(150, &[(1, 3, [0, 1])], 2);
    let train = |steps| {
        let options = TrainOptions { steps, ..quick("softmax") };
        train_head(&Set::learn().samples(), &held_out.samples(), &options, &|_, _| ()).unwrap()
    };
    let trained = train(100);
    assert_eq!((trained.best_step, trained.history.len()), (0, 5));
    assert!(trained.history[1..].iter().all(|check| check.auroc < trained.history[0].auroc), "{:?}", trained.history);
    let start = train(0);
    assert_eq!((trained.head, trained.prototypes), (start.head, start.prototypes));
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    for name in ["triplet", "magnet", "arc-face"] {
        let shape = HeadShape::Mlp { hidden: 16, width: 6 };
        let train = |seed| {
            let trained = train(&TrainOptions { shape, steps: 50, seed, ..quick(name) }).unwrap();
            (trained.head, trained.prototypes, trained.history)
        };
        assert_eq!(train(7), train(7), "{name}");
        assert_ne!(train(7).0, train(8).0, "{name}");
    }
}

#[test]
fn trap_class_weights_and_centres_are_trained() {
    for name in Loss::NAMES {
        let train = |steps| {
            let held_out = Set::new(150, &[(1, 1, [8, 9])], 2);
            let options = TrainOptions { steps, nearness: 0.0, ..quick(name) };
            train_head(&Set::learn().samples(), &held_out.samples(), &options, &|_, _| ()).unwrap()
        };
        let (start, trained) = (train(0), train(200));
        assert_eq!(trained.prototypes.is_some(), quick(name).loss.is_classification(), "{name}");
        let Some((start, end)) = start.prototypes.zip(trained.prototypes) else { continue };
        assert_eq!((end.len(), end.width()), (CLASSES, CHANNELS));
        assert!(trained.best_step > 0, "{name}: no step was better than the start");
        assert!(start.rows().zip(end.rows()).all(|(start, end)| start != end), "{name}: a class has not moved");
    }
}

#[test]
fn mixup_trains_softmax_and_l2_softmax_and_no_other_loss() {
    for name in ["softmax", "l2-softmax"] {
        let shape = HeadShape::Linear { width: 8 };
        let mixed = train(&TrainOptions { shape, mixup: Some(0.4), ..quick(name) }).unwrap();
        assert!(best_auroc(&mixed) > mixed.history[0].auroc, "{name}: {:?}", mixed.history);
        assert_ne!(mixed.history, train(&TrainOptions { shape, ..quick(name) }).unwrap().history);
    }
    let error = train(&TrainOptions { mixup: Some(0.4), ..quick("cos-face") }).unwrap_err().to_string();
    assert_eq!(error, "mixup does not go with loss 'cos-face', only with 'softmax' and 'l2-softmax'; leave it out");
    let error = train(&TrainOptions { mixup: Some(0.0), ..quick("softmax") }).unwrap_err().to_string();
    assert_eq!(error, "option 'mixup' is 0, expected above 0; correct it");
}

#[test]
fn the_distance_follows_from_the_loss() {
    let distance = |name| train(&TrainOptions { steps: 0, ..quick(name) }).unwrap().distance();
    assert_eq!((distance("arc-face"), distance("softmax")), (Distance::Cosine, Distance::Euclidean));
}

#[test]
fn training_ends_when_patience_does() {
    let done = std::cell::Cell::new((0, 0));
    let options = TrainOptions { patience: 1, nearness: 1e6, learning_rate: 1e-9, ..quick("softmax") };
    let (learn, held_out) = (Set::learn(), Set::held_out());
    let progress = |step, of| done.set((step, of));
    let trained = train_head(&learn.samples(), &held_out.samples(), &options, &progress).unwrap();
    assert_eq!((trained.steps, done.get()), (CHECK_EVERY, (CHECK_EVERY, 200)));
}

#[test]
fn fewer_good_parts_than_a_batch_takes() {
    let learn = Set::new(15, &[(1, 1, [8, 9]), (2, 2, [10, 11])], 1);
    let error = train_head(&learn.samples(), &Set::held_out().samples(), &quick("triplet"), &|_, _| ());
    let expected = "good samples are 15 rows to learn from, but a batch of 48 takes at least 16; give more of them or \
                    make the batch smaller";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn a_class_of_two_defects_is_enough() {
    let mut learn = Set::learn();
    let keep = 302;
    learn.embeddings = learn.embeddings.select(&(0..keep).collect::<Vec<_>>());
    learn.labels.truncate(keep);
    learn.kinds.truncate(keep);
    learn.products.truncate(keep);
    let options = TrainOptions { steps: 10, ..quick("n-pair") };
    assert!(train_head(&learn.samples(), &Set::held_out().samples(), &options, &|_, _| ()).is_ok());
    learn.embeddings = learn.embeddings.select(&(0..keep - 1).collect::<Vec<_>>());
    learn.labels.pop();
    learn.kinds.pop();
    learn.products.pop();
    let error = train_head(&learn.samples(), &Set::held_out().samples(), &options, &|_, _| ()).unwrap_err();
    assert!(matches!(error, TrainError::TooFew { class: 2, found: 1, needed: 2, batch: 48 }), "{error}");
}

#[test]
fn one_class_only_is_refused() {
    let good = Set::new(150, &[], 1);
    let error = train_head(&good.samples(), &Set::held_out().samples(), &quick("softmax"), &|_, _| ()).unwrap_err();
    let expected = "the learning samples are all of class 0, expected good ones and a second class; add anomalous \
                    ones, for example by synthetic defects, or another product";
    assert_eq!(error.to_string(), expected);
    let error = train_head(&Set::learn().samples(), &good.samples(), &quick("softmax"), &|_, _| ()).unwrap_err();
    assert!(matches!(error, TrainError::HeldOut { good: 150, anomalous: 0 }), "{error}");
}

#[test]
fn a_loss_that_diverges_names_itself_and_the_learning_rate() {
    let error = train(&TrainOptions { learning_rate: 1e30, ..quick("softmax") }).unwrap_err().to_string();
    assert!(error.starts_with("loss 'softmax' is no number any more at step 2 with learning rate 1"), "{error}");
}

#[test]
fn options_and_samples_that_do_not_fit_are_refused() {
    let refused = |options: TrainOptions| train(&options).unwrap_err().to_string();
    let error = refused(TrainOptions { batch: 5, ..quick("softmax") });
    assert_eq!(error, "a batch of 5 gives less than two rows to each of 3 classes; make it at least 6");
    let error = refused(TrainOptions { shape: HeadShape::Linear { width: 13 }, ..quick("softmax") });
    assert!(error.starts_with("a linear head of width 13 from 12 channels, expected 1 to 12"), "{error}");
    let error = refused(TrainOptions { shape: HeadShape::Linear { width: 1 }, ..quick("cos-face") });
    assert_eq!(error, "option 'width' is 1, expected 2 or more, for a loss that compares directions; correct it");
    let error = refused(TrainOptions { learning_rate: f64::NAN, ..quick("softmax") });
    assert_eq!(error, "option 'learning_rate' is NaN, expected above 0; correct it");
    let error = train(&TrainOptions { miner: Miner::Hard, ..quick("softmax") }).unwrap_err();
    assert!(matches!(error, TrainError::Loss(LossError::Miner { .. })), "{error}");
    let (learn, held_out) = (Set::learn(), Set::held_out());
    let short = Samples { kinds: &learn.kinds[1..], ..learn.samples() };
    let error = train_head(&short, &held_out.samples(), &quick("softmax"), &|_, _| ()).unwrap_err();
    assert!(
        matches!(error, TrainError::Rows { what: "learning", rows: 450, labels: 450, kinds: 449, products: 450 }),
        "{error}"
    );
}

fn normality_options() -> NormalityOptions {
    NormalityOptions { hidden: 16, steps: 200, batch: 48, learning_rate: 0.01, ..NormalityOptions::default() }
}

/// The AUROC of the logits of good and held-out anomalous rows.
fn logit_auroc(head: &Head) -> f64 {
    let logits = head.apply(&Set::held_out().embeddings);
    assert_eq!(logits.width(), 1);
    crate::evaluate::metrics::auroc(&logits.data()[..150], &logits.data()[150..])
}

#[test]
fn a_learned_score_is_larger_for_a_kind_of_defect_that_it_has_not_seen() {
    let (learn, held_out) = (Set::learn(), Set::held_out());
    let train = |options| train_normality(&learn.samples(), &held_out.samples(), &options).unwrap();
    let head = train(normality_options());
    assert!(logit_auroc(&head) > 0.85, "{}", logit_auroc(&head));
    assert_eq!(head, train(normality_options()));
    assert!(logit_auroc(&train(NormalityOptions { noise: 0.0, ..normality_options() })) > 0.85);
}

#[test]
fn a_learned_score_from_good_parts_and_noise_alone() {
    let (good, held_out) = (Set::new(150, &[], 1), Set::held_out());
    let head =
        train_normality(&good.samples(), &held_out.samples(), &NormalityOptions { noise: 2.0, ..normality_options() });
    assert!(logit_auroc(&head.unwrap()) > 0.6);
    let silent = NormalityOptions { noise: 0.0, ..normality_options() };
    let error = train_normality(&good.samples(), &held_out.samples(), &silent).unwrap_err();
    assert!(matches!(error, TrainError::OneClass { class: 0 }), "{error}");
}

#[test]
fn a_learned_score_that_is_no_better_than_chance_adds_nothing() {
    // Held-out defects are good rows under another name, so no score can tell them.
    let mut held_out = Set::held_out();
    held_out.embeddings = held_out.embeddings.select(&(0..150).chain(0..150).collect::<Vec<_>>());
    let head = train_normality(&Set::learn().samples(), &held_out.samples(), &normality_options()).unwrap();
    assert!(head.apply(&held_out.embeddings).data().iter().all(|logit| *logit == 0.0));
}

/// Two products of other brightness: what is a defect of the first is how the second looks.
fn two_products(seed: u64, defects: &[(u32, u16, [usize; 2])]) -> Set {
    let mut set = Set::new(150, defects, seed);
    let other = Set::new(150, defects, seed + 100);
    let mut brighter = other.embeddings.data().to_vec();
    brighter.chunks_exact_mut(CHANNELS).for_each(|row| row[..8].iter_mut().for_each(|value| *value += 3.0));
    set.embeddings.extend(&Embeddings::new(CHANNELS, brighter, false));
    set.labels.extend(other.labels);
    set.kinds.extend(other.kinds);
    set.products.extend(vec![3; other.products.len()]);
    set
}

#[test]
fn several_products_have_classes_of_their_own_and_share_the_head() {
    let learn = two_products(1, &[(1, 1, [8, 9]), (2, 2, [10, 11])]);
    let (classes, count) = learn.samples().classes();
    assert_eq!(count, 6);
    // The good ones of both come first, then the defects of each.
    let first_of = |row: usize| classes[150 * row];
    assert_eq!([0, 1, 2, 3, 4, 5].map(first_of), [0, 2, 3, 1, 4, 5]);
    let held_out = two_products(2, &[(1, 3, [9, 10])]);
    for name in ["softmax", "n-pair"] {
        let options = TrainOptions { shape: HeadShape::Linear { width: 8 }, ..quick(name) };
        let trained = train_head(&learn.samples(), &held_out.samples(), &options, &|_, _| ()).unwrap();
        let (start, best) = (trained.history[0].auroc, best_auroc(&trained));
        assert!(best > start, "{name}: {start} at the start, then {best}");
        assert_eq!(trained.prototypes.map(|rows| rows.len()), (name == "softmax").then_some(6), "{name}");
    }
}

#[test]
fn the_good_parts_of_several_products_are_classes_enough() {
    let learn = two_products(1, &[]);
    let held_out = two_products(2, &[(1, 3, [9, 10])]);
    assert!(train_head(&learn.samples(), &held_out.samples(), &quick("arc-face"), &|_, _| ()).is_ok());
}

#[test]
fn a_prototype_is_judged_as_it_will_be_used_and_is_never_the_random_start() {
    for name in ["cos-face", "center"] {
        let options = TrainOptions { prototype: true, shape: HeadShape::Linear { width: 8 }, ..quick(name) };
        let trained = train(&options).unwrap();
        assert!(trained.best_step > 0 && !trained.prototypes_are_random(&options.loss), "{name}");
        let untrained = train(&TrainOptions { steps: 0, ..options.clone() }).unwrap();
        assert_eq!(untrained.prototypes_are_random(&options.loss), name == "cos-face");
        assert!(best_auroc(&trained) > trained.history[0].auroc, "{name}: {:?}", trained.history);
    }
    let error = train(&TrainOptions { prototype: true, ..quick("triplet") }).unwrap_err();
    assert!(error.to_string().starts_with("the loss triplet learns no class weights"), "{error}");
}
