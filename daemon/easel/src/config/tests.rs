//! Which layer wins, where each value says it came from, and what wrong values are told.

use super::*;

fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

fn origin<'a>(effective: &'a Effective, key: &str) -> &'a str {
    &effective.shown.iter().find(|shown| shown.key == key).expect("the key is shown").origin
}

fn refusal(text: &str, env: &[(&str, &str)], flags: Flags) -> String {
    let (_folder, file) = write(text);
    load(Some(&file), &Environment::of(env), flags).err().expect("it is refused")
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let (_folder, file) = write("port = 8000\nmax_queue = 5\ncpu_slots = 2\n");
    let env = Environment::of(&[("EASEL_MAX_QUEUE", "6"), ("EASEL_CPU_SLOTS", "3"), ("EASEL_REFERENCE", "/x")]);
    let effective = load(Some(&file), &env, vec![("cpu_slots", "4".to_owned())]).expect("settings");
    let settings = &effective.settings;
    assert_eq!((settings.condition_size, settings.port, settings.max_queue, settings.cpu_slots), (512, 8000, 6, 4));
    assert_eq!(origin(&effective, "condition_size"), DEFAULT_ORIGIN);
    assert_eq!(origin(&effective, "port"), file.display().to_string());
    assert_eq!(origin(&effective, "max_queue"), "environment EASEL_MAX_QUEUE");
    assert_eq!(origin(&effective, "cpu_slots"), "flag --cpu-slots");
    assert!(effective.is_default("log") && !effective.is_default("port"));
    assert!(effective.warnings.is_empty(), "{:?}", effective.warnings);
}

#[test]
fn every_key_has_a_default_and_is_shown() {
    let effective = load(None, &Environment::of(&[("EASEL_CONFIG", "/dev/null")]), Vec::new()).expect("settings");
    let shown: Vec<_> = effective.shown.iter().map(|shown| shown.key.as_str()).collect();
    assert_eq!(shown, KEYS.map(|key| key.name));
}

#[test]
fn models_of_all_layers_come_together() {
    let (folder, file) = write("[models]\n\"a.b-c\" = \"sub/a\"\nb = \"/models/b\"\n");
    let env = Environment::of(&[("EASEL_MODELS", "b=/other/b, c=/models/c")]);
    let effective = load(Some(&file), &env, Vec::new()).expect("settings");
    let models = &effective.settings.models;
    assert_eq!(models["a.b-c"], folder.path().join("sub/a"), "relative to the file");
    assert_eq!(models["b"], PathBuf::from("/other/b"));
    assert_eq!(models["c"], PathBuf::from("/models/c"));
    assert_eq!(origin(&effective, "models.a.b-c"), file.display().to_string());
    assert_eq!(origin(&effective, "models.b"), "environment EASEL_MODELS");
}

#[test]
fn paths_follow_the_state_folder() {
    let env = Environment::of(&[("EASEL_CONFIG", "/dev/null"), ("EASEL_STATE_DIR", "/tmp/one")]);
    let effective = load(None, &env, vec![("state_dir", "/tmp/two".to_owned())]).expect("settings");
    assert_eq!(effective.settings.socket, PathBuf::from("/tmp/two/run/easel.sock"));
    assert_eq!(effective.settings.token_file, PathBuf::from("/tmp/two/token"));
    assert_eq!(effective.places.discovery_file(), PathBuf::from("/tmp/two/run/daemon.json"));
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_the_nearest_one() {
    let (_folder, file) = write("allowed_host = [\"x\"]\n");
    let message = load(Some(&file), &Environment::default(), Vec::new()).err().expect("refused");
    assert!(message.contains(&file.display().to_string()), "{message}");
    assert!(message.contains("allowed_host: did you mean allowed_hosts?"), "{message}");
}

#[test]
fn a_slip_in_the_environment_is_a_warning() {
    let env = Environment::of(&[("EASEL_CONFIG", "/dev/null"), ("EASEL_PROT", "1")]);
    let effective = load(None, &env, Vec::new()).expect("settings");
    assert_eq!(effective.warnings, ["EASEL_PROT is no setting: did you mean EASEL_PORT?"]);
}

#[test]
fn wrong_values_name_the_key_and_the_place() {
    let message = refusal("port = \"many\"\n", &[], Vec::new());
    assert!(message.contains("port") && message.contains("config.toml"), "{message}");
    let message = refusal("", &[("EASEL_PORT", "many")], Vec::new());
    assert!(message.contains("port") && message.contains("EASEL_PORT"), "{message}");
    let message = refusal("", &[], vec![("condition_size", "300".to_owned())]);
    assert_eq!(message, "condition_size: must be 256 or 512 (from flag --condition-size)");
    let message = refusal("engine = \"steam\"\n", &[], Vec::new());
    assert!(message.contains("steam") && message.contains("dreamlite"), "{message}");
    let message = refusal("unet_precision = \"q4k\"\n", &[], Vec::new());
    assert!(
        message.starts_with("unet_precision: \"q4k\" is no precision of unet, there are f32, int8 (from "),
        "{message}"
    );
    let message = refusal("", &[("EASEL_ENCODER_PRECISION", "q5")], Vec::new());
    assert!(message.contains("f32, q8_0, q4k, int8, and auto") && message.contains("EASEL_ENCODER"), "{message}");
    let message = refusal("", &[], vec![("instructions", "mmx".to_owned())]);
    assert!(message.contains("portable") && message.contains("flag --instructions"), "{message}");
    let message = refusal("port = 65533\n", &[], Vec::new());
    assert!(message.contains("port") && message.contains("block"), "{message}");
    let message = refusal("port = [\n", &[], Vec::new());
    assert!(message.contains("is not valid TOML"), "{message}");
    let message = refusal("", &[("EASEL_MODELS", "nameonly")], Vec::new());
    assert!(message.contains("NAME=FOLDER"), "{message}");
}

#[test]
fn a_named_file_must_exist() {
    let message =
        load(Some(Path::new("/nowhere/easel.toml")), &Environment::default(), Vec::new()).err().expect("refused");
    assert!(message.contains("/nowhere/easel.toml"), "{message}");
}
