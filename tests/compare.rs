//! Promise: one command compares distances, losses and synthetic defects on a labelled set, and a seed repeats it.

use std::path::{Path, PathBuf};

use rejectd::evaluate::compare::{CompareError, Compared, Shown, Table, What, compare};
use rejectd::inspect::card::Model;
use rejectd::teach::Options;
use rejectd::teach::losses::Loss;
use rejectd::verbs::compare::{CompareArgs, Given, WhatArg, run};

mod common;

/// Rendered parts of 64 pixels in the layout of MVTec AD: 24 to teach from, 6 good and 6 anomalous ones to test.
fn set(folder: &Path) -> PathBuf {
    let root = folder.join("belt");
    let belt = common::belt(64);
    let good =
        |part: u64, place: &str| common::save(&belt.good_part(part), &root.join(place).join(format!("{part}.png")));
    ["train/good", "test/good", "test/defect"].iter().for_each(|f| std::fs::create_dir_all(root.join(f)).unwrap());
    (0..24).for_each(|part| good(part, "train/good"));
    (24..30).for_each(|part| good(part, "test/good"));
    let bad = (0..).filter(|part| belt.defect_of(*part).is_some()).take(6);
    bad.for_each(|part| common::save(&belt.part(part).0, &root.join("test/defect").join(format!("{part}.png"))));
    root
}

fn options(model: &Model) -> Options {
    let mut options = Options { bank_rows: 100, threads: 2, ..Options::for_model(model) };
    options.recipe.input_px = [64, 64];
    options
}

fn compared(what: &[What], seeds: usize, threads: usize) -> Compared {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::built_in();
    let options = Options { threads, ..options(&model) };
    compare(&model, &set(folder.path()), &options, what, seeds, &|_, _, _| ()).unwrap()
}

#[test]
fn every_distance_pooling_and_score_rule_stands_beside_what_the_choice_goes_by() {
    let compared = compared(&[What::Distances], 2, 2);
    assert!(compared.cells.iter().all(|cell| cell.seeds == [0, 1] && cell.auroc_spread.is_finite()));
    let table = Table::of(&compared.cells, What::Distances, Shown::Auroc).unwrap();
    assert_eq!((table.rows.len(), table.columns.len()), (3 * 2 * 10 + 2, 3 * 2 * 2));
    assert!(table.means.iter().flatten().all(|auroc| auroc.is_some_and(|auroc| (0.0..=1.0).contains(&auroc))));
    for row in [
        "stage3, stage5, pool 3: cosine",
        "stage5, pool 1: Mahalanobis",
        "stage3, stage5, pool 1: product, nested, local",
    ] {
        assert!(table.rows.iter().any(|found| found == row), "{row}: {:?}", table.rows);
    }
    let quality = Table::of(&compared.cells, What::Distances, Shown::Quality).unwrap();
    assert_eq!(quality.rows, table.rows);
    let standing = &compared.standings[0];
    assert!(standing.rank_correlation.unwrap().abs() <= 1.0);
    assert!(standing.best.auroc >= standing.taken.auroc && standing.taken.quality >= standing.plain.quality);
    assert_eq!(standing.plain.recipe, "stage3, stage5, pool 3: cosine, top 1 %");
}

#[test]
fn trap_t1_whole_pictures_have_a_row_for_each_preset_and_loss_and_none_tells_anything_in_its_own_bank() {
    let compared = compared(&[What::Image], 1, 2);
    let table = Table::of(&compared.cells, What::Image, Shown::Auroc).unwrap();
    assert_eq!(table.rows.len(), 2 + 5 * Loss::NAMES.len());
    assert_eq!(table.rows[..2], ["raw", "raw, LEAK: test pictures in the bank"]);
    assert!(table.rows.iter().any(|row| row == "shinmura0: arc-face"), "{:?}", table.rows);
    assert!(table.rows.iter().any(|row| row == "daisukelab: softmax, mixup 0.4"), "{:?}", table.rows);
    let column = table.columns.iter().position(|column| column == "Euclidean, nearest").unwrap();
    assert_eq!(table.means[1][column], Some(0.5), "every test picture is at distance 0 of itself");
    let trained = compared.cells.iter().filter(|cell| cell.place.preset == Some("daisukelab") && cell.notes.is_empty());
    assert!(trained.count() > 4 * Loss::NAMES.len() / 2, "most heads can be trained on few pictures");
    assert!(compared.cells.iter().all(|cell| cell.notes.is_empty() == cell.auroc[0].is_finite()));
    // Heads of losses that compare by Euclidean distance are centred on the good parts; by cosine they tell about as much, and not less than chance.
    let by = |distance: &str| {
        let centred = ["lifted", "n-pair", "magnet", "softmax, mixup 0.4", "center"];
        let cells = compared.cells.iter().filter(|cell| cell.place.distance == distance);
        let aurocs: Vec<f64> = cells
            .filter(|cell| centred.contains(&cell.place.loss.as_str()) && cell.notes.is_empty())
            .map(|cell| cell.auroc[0])
            .collect();
        assert!(aurocs.len() > 10, "{aurocs:?}");
        aurocs.iter().sum::<f64>() / aurocs.len() as f64
    };
    let (cosine, euclidean) = (by("cosine, nearest"), by("Euclidean, nearest"));
    println!("centred heads by cosine {cosine:.3}, by Euclidean distance {euclidean:.3}");
    assert!(cosine > euclidean - 0.12, "{cosine} for {euclidean}");
}

#[test]
fn the_same_seed_gives_the_same_figures_on_any_number_of_threads() {
    let figures = |compared: &Compared| {
        let bits = |auroc: &[f64]| auroc.iter().map(|auroc| auroc.to_bits()).collect::<Vec<_>>();
        compared
            .cells
            .iter()
            .map(|cell| (cell.place.clone(), bits(&cell.auroc), bits(&cell.quality)))
            .collect::<Vec<_>>()
    };
    let [one, three] = [1, 3].map(|threads| compared(&[What::Distances], 1, threads));
    assert_eq!(figures(&one), figures(&three));
    assert_eq!(one.standings, three.standings);
}

#[test]
fn the_verb_writes_a_line_for_each_figure_and_a_picture_for_each_table() {
    let folder = tempfile::tempdir().unwrap();
    let (data, json, out) = ([set(folder.path())], folder.path().join("figures.jsonl"), folder.path().join("out"));
    let args = CompareArgs { compare: true, what: WhatArg::Losses };
    let (json_path, out_path) = (Some(json.as_path()), Some(out.as_path()));
    let given = Given {
        roi: None,
        data: &data,
        model: None,
        json: json_path,
        out: out_path,
        input_px: Some([64; 2]),
        seeds: 1,
        seed: 5,
        threads: Some(2),
    };
    run(&args, &given).unwrap();
    let text = std::fs::read_to_string(&json).unwrap();
    let cells: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let classifying = Loss::NAMES.iter().filter(|name| Loss::default_of(name).unwrap().is_classification()).count();
    assert_eq!(cells.len(), 3 * (2 + 2 * (2 * Loss::NAMES.len() + classifying)));
    for key in
        ["set", "what", "loss", "preset", "distance", "score_rule", "seeds", "auroc_mean", "auroc_spread", "auroc"]
    {
        assert!(cells.iter().all(|cell| cell.get(key).is_some()), "{key}");
    }
    assert!(cells.iter().all(|cell| cell["seeds"] == serde_json::json!([5]) && cell["set"] == "belt"));
    assert!(image::open(out.join("belt-losses.png")).unwrap().width() > 300);
}

#[test]
fn a_set_without_defects_or_with_few_parts_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (root, model) = (set(folder.path()), Model::built_in());
    let compare = || compare(&model, &root, &options(&model), &What::ALL, 1, &|_, _, _| ()).unwrap_err();
    let moved = folder.path().join("moved");
    std::fs::rename(root.join("test/defect"), &moved).unwrap();
    assert!(matches!(compare(), CompareError::NoDefects { .. }));
    assert!(compare().to_string().starts_with("belt: the folder 'test' holds good parts only"));
    std::fs::rename(&moved, root.join("test/defect")).unwrap();
    (5..24).for_each(|part| std::fs::remove_file(root.join(format!("train/good/{part}.png"))).unwrap());
    assert_eq!(
        compare().to_string(),
        "belt: train/good holds 5 different pictures, expected at least 10; add good parts"
    );
}
