use super::*;

fn layout(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    root
}

#[test]
fn a_category_is_listed_in_order_with_the_masks_of_either_name() {
    let root = layout(&[
        "nut/train/good/002.png",
        "nut/train/good/000.PNG",
        "nut/train/good/._000.png",
        "nut/train/good/notes.txt",
        "nut/test/scratch/b.jpg",
        "nut/test/scratch/a.jpg",
        "nut/test/scratch/c.jpg",
        "nut/test/good/7.bmp",
        "nut/test/readme.txt",
        "nut/ground_truth/scratch/a_mask.png",
        "nut/ground_truth/scratch/b.png",
    ]);
    let nut = root.path().join("nut");
    let anomalous = |name: &str, mask: Option<&str>| LabelledImage {
        path: nut.join("test/scratch").join(name),
        defect_type: Some("scratch".into()),
        mask: mask.map(|mask| nut.join("ground_truth/scratch").join(mask)),
    };
    let expected = Dataset {
        root: nut.clone(),
        name: "nut".into(),
        train_good: vec![nut.join("train/good/000.PNG"), nut.join("train/good/002.png")],
        test: vec![
            LabelledImage { path: nut.join("test/good/7.bmp"), defect_type: None, mask: None },
            anomalous("a.jpg", Some("a_mask.png")),
            anomalous("b.jpg", Some("b.png")),
            anomalous("c.jpg", None),
        ],
    };
    assert_eq!(Dataset::open(&nut).unwrap(), expected);
}

fn sentence(root: &Path) -> String {
    Dataset::open(root).unwrap_err().to_string().replace(root.to_str().unwrap(), "ROOT")
}

#[test]
fn a_folder_that_is_no_category_is_refused_in_a_sentence_that_says_what_to_do() {
    let root = layout(&["pictures/1.png"]);
    assert_eq!(
        sentence(root.path()),
        "ROOT: has no folder 'train/good'; the layout of MVTec AD is expected: train/good, test/good, test/<defect \
         type> and, if there are masks, ground_truth/<defect type>"
    );
    let root = layout(&["screw/train/good/1.png", "bottle/train/good/1.png"]);
    assert!(sentence(root.path()).ends_with("name one of them: bottle, screw ('…/bottle')"));
    let root = layout(&["train/good/1.png"]);
    assert!(sentence(root.path()).starts_with("ROOT: has no folder 'test';"));
    assert!(sentence(&root.path().join("train/good/1.png")).starts_with("ROOT: there is no such folder;"));
}

#[test]
fn a_category_without_pictures_is_refused() {
    let root = layout(&["train/good/1.txt", "test/good/1.png"]);
    assert_eq!(
        sentence(root.path()),
        "ROOT/train/good: holds no picture (bmp, jpeg, jpg, png, tif, tiff); put at least one there"
    );
    let root = layout(&["train/good/1.png", "test/good/1.txt"]);
    assert!(sentence(root.path()).starts_with("ROOT/test: holds no picture"));
}

#[test]
fn a_test_folder_without_good_parts_is_refused_and_one_without_defects_is_not() {
    let root = layout(&["train/good/1.png", "test/scratch/1.png", "test/good/notes.txt"]);
    assert_eq!(
        sentence(root.path()),
        "ROOT/test/good: holds no good parts (bmp, jpeg, jpg, png, tif, tiff), and without them neither an AUROC nor a \
         false reject rate can be computed; put some good parts there that are not in train/good"
    );
    let root = layout(&["train/good/1.png", "test/good/1.png"]);
    let good_only = Dataset::open(root.path()).unwrap();
    assert!(!good_only.has_defects());
    assert_eq!(good_only.without_masks(), None);
}

#[test]
fn missing_masks_are_told_by_defect_type() {
    let told = |masks: &[&str]| {
        let parts = ["train/good/1.png", "test/good/1.png", "test/dent/1.png", "test/rust/1.png", "test/rust/2.png"];
        let root = layout(&[&parts, masks].concat());
        let set = Dataset::open(root.path()).unwrap();
        assert!(set.has_defects());
        set.without_masks().map(|sentence| sentence.split_once(": ").unwrap().1.to_owned())
    };
    assert_eq!(told(&[]).unwrap(), "none of the 3 anomalous parts has a mask; there are no pixel figures");
    assert_eq!(
        told(&["ground_truth/rust/1.png"]).unwrap(),
        "these have no mask, and the pixel figures leave them out: 1 of 1 'dent', 1 of 2 'rust'"
    );
    let all = ["ground_truth/dent/1_mask.PNG", "ground_truth/rust/1.bmp", "ground_truth/rust/2_mask.tif"];
    assert_eq!(told(&all), None);
}

#[test]
fn unreadable_pictures_are_named_and_left_out_unless_none_is_left() {
    let root =
        layout(&["train/good/1.png", "train/good/2.png", "test/good/1.png", "test/good/2.png", "test/rust/2.png"]);
    let leave_out = |unreadable: &[&str]| {
        let mut set = Dataset::open(root.path()).unwrap();
        let read = |path: &Path| {
            let name = path.strip_prefix(root.path()).unwrap().to_str().unwrap();
            if unreadable.contains(&name) { Err(format!("{name}: not a picture")) } else { Ok(()) }
        };
        let reasons = set.leave_out_unreadable(read).map_err(|error| error.to_string());
        (reasons, set.train_good.len(), set.test.len())
    };
    assert_eq!(leave_out(&[]), (Ok(vec![]), 2, 3));
    let (reasons, train, test) = leave_out(&["train/good/2.png", "test/good/1.png", "test/rust/2.png"]);
    assert_eq!(
        (reasons.unwrap().join("; "), train, test),
        (
            "train/good/2.png: not a picture; test/good/1.png: not a picture; test/rust/2.png: not a picture".into(),
            1,
            1
        )
    );
    for folder in ["train/good", "test/good"] {
        let all = [format!("{folder}/1.png"), format!("{folder}/2.png")];
        let (error, ..) = leave_out(&all.each_ref().map(String::as_str));
        assert!(error.unwrap_err().ends_with(&format!("{folder}: none of the 2 pictures can be read; replace them")));
    }
}

#[test]
fn trap_t11_every_set_is_found_in_a_folder_and_in_the_folders_in_it() {
    let set = |name: &str| [format!("{name}/train/good/1.png"), format!("{name}/test/good/1.png")];
    let files = ["b/screw", "b/bottle", "a", "c/d/too_deep"].map(set).concat();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.extend(["b/notes/1.txt", "no_test/train/good/1.png", "readme.txt"]);
    let root = layout(&files);
    let found = discover(root.path()).unwrap();
    assert_eq!(found, ["a", "b/bottle", "b/screw"].map(|name| root.path().join(name)));
    assert_eq!(discover(&found[0]).unwrap(), [found[0].clone()]);

    let none = discover(&root.path().join("b/notes")).unwrap_err().to_string();
    assert!(
        none.contains("notes: neither the folder, nor one in it, nor one in those, has both 'train/good'"),
        "{none}"
    );
    let missing = discover(&root.path().join("readme.txt")).unwrap_err();
    assert!(matches!(missing, DatasetError::NoFolder { .. }));
}
