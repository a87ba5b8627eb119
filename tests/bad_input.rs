//! Promise: bad input ends in a sentence and a documented exit code; nothing is lost, and nothing panics.

use std::path::Path;

use common::{assert_code, belt, render_good, run, save, teach_small, text};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

mod common;

/// Asserts the exit code and that the output has `sentence` in it.
fn refuses(arguments: &str, folder: &Path, code: i32, sentence: &str) {
    let output = run(arguments, folder);
    assert_code(&output, code, arguments);
    assert!(text(&output).contains(sentence), "{arguments} should say '{sentence}':\n{}", text(&output));
}

#[test]
fn pictures_that_are_none_are_named_and_the_others_are_still_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 20);
    let pictures = path.join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let good = DynamicImage::from(RgbImage::from_raw(128, 128, belt(128).good_part(99).rgb().to_vec()).unwrap());
    good.save(pictures.join("a-whole.jpg")).unwrap();
    let jpeg = std::fs::read(pictures.join("a-whole.jpg")).unwrap();
    std::fs::write(pictures.join("b-truncated.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    std::fs::write(pictures.join("c-no-end.jpg"), &jpeg[..jpeg.len() - 2]).unwrap();
    let mut corrupt = jpeg.clone();
    corrupt[jpeg.len() / 2..][..64].fill(0xFF);
    std::fs::write(pictures.join("d-corrupt.jpg"), corrupt).unwrap();
    std::fs::write(pictures.join("e-text.png"), "no picture").unwrap();
    RgbImage::new(1, 1).save(pictures.join("f-one-pixel.png")).unwrap();
    let output = run("inspect --json --profile {}/product.profile {}/pictures", path);
    assert_code(&output, 65, "damaged pictures");
    let rows: Vec<serde_json::Value> =
        text(&output).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_ne!(verdicts[0], "no-decision", "{}", text(&output));
    assert_eq!(&verdicts[1..], ["no-decision"; 5], "{}", text(&output));
    for row in &rows[1..] {
        let name = Path::new(row["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
        assert!(row["error"].as_str().unwrap().contains(name), "{row}");
    }
}

#[test]
fn grey_transparent_deep_and_forty_megapixel_pictures_are_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 20);
    let pictures = path.join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let good = DynamicImage::from(RgbImage::from_raw(128, 128, belt(128).good_part(99).rgb().to_vec()).unwrap());
    good.to_luma8().save(pictures.join("grey.png")).unwrap();
    good.to_rgba8().save(pictures.join("alpha.png")).unwrap();
    good.to_rgb16().save(pictures.join("deep.png")).unwrap();
    GrayImage::from_pixel(8000, 5000, Luma([90])).save(pictures.join("huge.png")).unwrap();
    let output = run("inspect --json --profile {}/product.profile {}/pictures", path);
    assert_code(&output, 1, "the huge grey picture is no good part");
    assert_eq!(text(&output).lines().count(), 4);
    assert!(!text(&output).contains("no-decision"), "{}", text(&output));
}

#[test]
fn folders_that_nothing_can_be_taught_from_are_refused_and_leave_no_profile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("empty")).unwrap();
    render_good(&path.join("three"), 3);
    render_good(&path.join("some"), 12);
    std::fs::write(path.join("some/zz.png"), "no picture").unwrap();
    refuses("teach --from {}/empty --profile {}/p", path, 66, "holds no pictures");
    refuses("teach --from {}/nowhere --profile {}/p", path, 66, "cannot be read");
    refuses("teach --from {}/three --profile {}/p", path, 65, "3 good parts were given; at least 10");
    refuses("teach --from {}/some --profile {}/p --metric none --input-px 96", path, 65, "zz.png");
    refuses("teach --from {}/three --profile {}/nowhere/p", path, 73, "nowhere");
    assert!(!path.join("p").exists());
}

#[test]
fn recipes_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render_good(&path.join("good"), 12);
    let teach = "teach --from {}/good --profile {}/p";
    refuses(&format!("{teach} --input-px 104"), path, 65, "multiples of 32");
    refuses(&format!("{teach} --taps stage9"), path, 65, "no tap 'stage9'");
    refuses(&format!("{teach} --pool 2 --input-px 96"), path, 65, "must be odd");
    refuses(&format!("{teach} --roi 100,100,64,64 --input-px 96"), path, 65, "outside the frame of 128 × 128");
    refuses(&format!("{teach} --max-false-rejects 1% --input-px 96"), path, 65, "407 more good parts");
    refuses(&format!("{teach} --max-false-rejects 20% --input-px 96"), path, 65, "48 more good parts");
    refuses(&format!("{teach} --pca 5000"), path, 65, "can be 1 to 152 wide");
    refuses(&format!("{teach} --neighbours 5000"), path, 65, "more neighbours than bank rows");
    refuses(&format!("{teach} --distance product --nested --taps stage5"), path, 2, "needs two taps or more");
    refuses(&format!("{teach} --distance euclidean --nested"), path, 2, "--distance product; give these");
    refuses(&format!("{teach} --distance product --nested --pca 9"), path, 65, "without a PCA head");
    refuses(&format!("{teach} --granularity image --smooth"), path, 65, "it has one embedding");
    refuses(&format!("{teach} --granularity image --relative"), path, 65, "or it is always 1");
    refuses(&format!("{teach} --pca 1"), path, 65, "one number has no direction but its sign");
    let none = format!("{teach} --metric none --input-px 96");
    refuses(
        &format!("{none} --max-false-rejects 20%"),
        path,
        65,
        "fewer than 60 good parts, and there are 12; give 48",
    );
    refuses(&format!("{none} --granularity image --neighbours 11"), path, 65, "a mean of 11 neighbours, but the bank");
    let gaussians = format!("{none} --distance mahalanobis-per-position --candidates-mib 9");
    refuses(&gaussians, path, 65, "a covariance for each position, 13 MiB here");
    let learned = "--input-px 96 --metric triplet --metric-options";
    refuses(&format!("{teach} {learned} rate=-1"), path, 2, "'learning_rate' is -1, expected above 0");
    refuses(&format!("{teach} {learned} width=1"), path, 2, "'width' is 1, expected 2 or more");
    refuses(&format!("{teach} --metric auto --metric-options rate=-1"), path, 2, "'learning_rate' is -1");
    refuses(&format!("{teach} --pool 999"), path, 65, "not wider than the input");
    refuses(&format!("{teach} --max-false-rejects 150%"), path, 2, "between 0 and 1");
    assert!(!path.join("p").exists());
}

#[test]
fn a_profile_cut_or_flipped_anywhere_is_refused_by_inspect_check_and_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let profile = teach_small(path, 12);
    let bytes = std::fs::read(&profile).unwrap();
    std::fs::write(path.join("rejectd.toml"), "[profile]\nfile = \"cut\"\n[source]\nkind = \"simulated\"\n").unwrap();
    for i in 0..64 {
        std::fs::write(path.join("cut"), &bytes[..i * bytes.len() / 64]).unwrap();
        refuses("inspect --profile {}/cut {}/good", path, 65, "cut");
        let mut flipped = bytes.clone();
        flipped[i * bytes.len() / 64] ^= 1 << (i % 8);
        std::fs::write(path.join("cut"), flipped).unwrap();
        refuses("profile verify {}/cut", path, 65, "cut");
    }
    refuses("check --config {}/rejectd.toml", path, 65, "damaged");
    refuses("inspect --profile {}/nowhere {}/good", path, 66, "nowhere");
}

#[test]
fn a_missing_camera_and_a_wrong_configuration_have_codes_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 12);
    let configuration = |text: &str| std::fs::write(path.join("rejectd.toml"), text).unwrap();
    let camera = "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"v4l2\"\n[source.v4l2]\ndevice = \"/dev/video-none\"\n";
    configuration(camera);
    refuses("check --config {}/rejectd.toml", path, 69, "/dev/video-none");
    refuses("teach --camera --config {}/rejectd.toml --profile {}/q", path, 69, "/dev/video-none");
    configuration(
        "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"simulated\"\n[trigger]\nkind = \"software\"\n\
         [line]\ndelay_ms = 1\n",
    );
    refuses("check --config {}/rejectd.toml", path, 78, "delay_ms is 1, but an inspection takes");
    configuration("[profile]\nfiel = \"p\"\n[source]\nkind = \"folder\"\n[line]\npulse = 5\n");
    for verb in ["check", "run"] {
        let output = run(&format!("{verb} --config {{}}/rejectd.toml"), path);
        assert_code(&output, 78, verb);
        for sentence in ["rejectd.toml:2:1", "file", "rejectd.toml:6:1", "pulse_ms"] {
            assert!(text(&output).contains(sentence), "{sentence}:\n{}", text(&output));
        }
    }
    refuses("check --config {}/nowhere.toml", path, 78, "cannot be read");
    refuses("inspect", path, 2, "Usage");
}

#[test]
fn a_region_or_threshold_meant_for_another_profile_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 12);
    let configuration = |more: &str, after: &str| {
        let text = format!("[profile]\nfile = \"product.profile\"\n[source]\nkind = \"simulated\"\n{more}\n{after}\n");
        std::fs::write(path.join("rejectd.toml"), text).unwrap();
    };
    configuration("roi_px = [0, 0, 64, 64]", "");
    refuses("check --config {}/rejectd.toml", path, 78, "was taught with the whole frame");
    configuration("", "[verdict]\nthreshold = 0.5\nthreshold_for = \"0123456789abcdef\"");
    refuses("run --config {}/rejectd.toml", path, 78, "is meant for the profile 0123456789abcdef");
    configuration("", "");
    refuses("check --config {}/rejectd.toml", path, 0, "320 × 320 pixels, but");
    configuration("simulated = { width_px = 128, height_px = 128 }", "");
    let sound = run("check --config {}/rejectd.toml", path);
    assert_code(&sound, 0, "a sound configuration");
    assert!(!text(&sound).contains("warning"), "{}", text(&sound));
}

/// Needs the right to mount; without it the test says so.
#[test]
fn a_full_disk_while_saving_leaves_the_old_profile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render_good(&path.join("good"), 12);
    let disk = path.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1200k", "tmpfs", disk.to_str().unwrap()])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a small disk cannot be mounted without the right to");
        return;
    }
    let teach = "teach --from {}/good --profile {}/disk/p --metric none --input-px 96 --bank-rows";
    let first = run(&format!("{teach} 100"), path);
    let before = std::fs::read(disk.join("p"));
    let second = run(&format!("{teach} 1500"), path);
    let after = std::fs::read(disk.join("p"));
    let left: Vec<String> =
        std::fs::read_dir(&disk).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    std::process::Command::new("umount").arg(&disk).status().unwrap();
    assert_code(&first, 0, "a small bank fits");
    assert_code(&second, 73, "a large one does not");
    assert!(text(&second).contains("is full; free at least"), "{}", text(&second));
    assert_eq!(before.unwrap(), after.unwrap());
    assert_eq!(left.len(), 2, "only the profile and its generation: {left:?}");
}

#[test]
fn a_bright_line_across_a_part_is_not_lost_among_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 20);
    let mut scratched = RgbImage::from_raw(128, 128, belt(128).good_part(50).rgb().to_vec()).unwrap();
    (20..108).for_each(|i| (0..4).for_each(|w| scratched.put_pixel(i, 60 + w, Rgb([255, 255, 255]))));
    scratched.save(path.join("scratched.png")).unwrap();
    save(&belt(128).good_part(3), &path.join("good.png"));
    assert_code(&run("inspect --profile {}/product.profile {}/good.png", path), 0, "a taught part");
    let output = run("inspect --profile {}/product.profile {}/scratched.png --heatmaps {}/maps", path);
    assert_code(&output, 1, "a scratched part");
    assert_eq!(std::fs::read_dir(path.join("maps")).unwrap().count(), 1);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_verb_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 12);
    let program = env!("CARGO_BIN_EXE_rejectd");
    let (profile, good) = (path.join("product.profile"), path.join("good"));
    let script = format!("'{program}' inspect --profile {} {} | head -n 1", profile.display(), good.display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_code(&output, 0, "head");
    assert!(output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn a_name_that_is_not_utf8_keeps_its_row_and_those_after_it() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 12);
    let pictures = path.join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for name in [b"a\xff.png".as_slice(), b"b.png"] {
        save(&belt(128).good_part(3), &pictures.join(std::ffi::OsStr::from_bytes(name)));
    }
    let output = run("inspect --json --profile {}/product.profile {}/pictures --heatmaps {}/maps", path);
    assert_code(&output, 0, "names");
    assert_eq!(text(&output).lines().count(), 2);
    assert_eq!(std::fs::read_dir(path.join("maps")).unwrap().count(), 2);
}

#[test]
fn a_background_of_the_wrong_size_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    teach_small(path, 12);
    save(&belt(32).good_part(0), &path.join("empty.png"));
    let text = "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"simulated\"\n[trigger]\nkind = \
                \"free_running\"\n[presence]\nenabled = true\nroi_px = [0, 0, 64, 64]\nbackground = \"empty.png\"\n";
    std::fs::write(path.join("rejectd.toml"), text).unwrap();
    for verb in ["check", "run"] {
        refuses(&format!("{verb} --config {{}}/rejectd.toml"), path, 78, "empty.png");
    }
}
