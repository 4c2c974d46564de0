//! The real binary as a user runs it, with the drill engine: commands, exit codes, files, signals, daemon and client.

#[path = "cli/access.rs"]
mod access;
#[path = "cli/base.rs"]
mod base;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/managed.rs"]
mod managed;
#[path = "cli/provenance.rs"]
mod provenance;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/selection.rs"]
mod selection;
#[path = "cli/service.rs"]
mod service;
#[path = "cli/sessions.rs"]
mod sessions;
#[path = "cli/world.rs"]
mod world;

use std::time::{Duration, Instant};

use world::{World, png_size};

#[test]
fn without_a_daemon_generate_brings_its_own_and_says_so_once() {
    let world = World::new();
    let run = world.easel(&["generate", "a red circle", "-o", "out.png", "--seed", "7"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, b"", "results only");
    assert_eq!(png_size(&world.read("out.png")), (256, 256));
    assert_eq!(run.stderr.matches("easel serve").count(), 1, "{}", run.stderr);
    for expected in
        ["seed 7", "denoise 4/4", "demonstration model", "easel models add FOLDER", "wrote out.png", "done in"]
    {
        assert!(run.stderr.contains(expected), "{expected} is missing in {}", run.stderr);
    }
    assert!(!run.stderr.contains('\x1b'), "no colours and no bar without a terminal");
    assert_eq!(world.temporary_files(), 0, "the socket's folder is gone");
}

#[test]
fn a_seed_is_a_picture() {
    let world = World::new();
    for (name, seed) in [("a.png", "7"), ("b.png", "7"), ("c.png", "8")] {
        world.ok(&["generate", "x", "-o", name, "--seed", seed]);
    }
    assert_eq!(world.read("a.png"), world.read("b.png"));
    assert_ne!(world.read("a.png"), world.read("c.png"));
}

#[test]
fn edit_reads_standard_input_and_writes_standard_output() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "in.png", "--size", "160x96", "--seed", "1"]);
    let run = world.easel_with_input(&["edit", "-", "make it blue", "-o", "-"], &world.read("in.png"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(png_size(&run.stdout), (160, 96), "an edit keeps the size of its source");
}

#[test]
fn an_existing_output_is_kept_and_nothing_is_begun() {
    let world = World::new();
    world.write("out.png", b"mine");
    let run = world.easel(&["generate", "x", "-o", "out.png"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("out.png exists") && run.stderr.contains("--force"), "{}", run.stderr);
    assert!(!run.stderr.contains("seed"), "no work was begun: {}", run.stderr);
    assert_eq!(world.read("out.png"), b"mine");
    world.ok(&["generate", "x", "-o", "out.png", "--force"]);
    assert_eq!(png_size(&world.read("out.png")), (256, 256));
}

#[test]
fn what_is_wrong_has_its_exit_code_and_a_sentence() {
    let world = World::new();
    world.write("empty.png", b"");
    world.write("text.png", b"this is no picture");
    let long = "x".repeat(100_000);
    let generate = |rest: &[&'static str]| [&["generate", "x", "-o", "o.png"], rest].concat();
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["edit", "empty.png", "x", "-o", "o.png"], 3, "spec.image"),
        (vec!["edit", "text.png", "x", "-o", "o.png"], 3, "image"),
        (vec!["edit", "missing.png", "x", "-o", "o.png"], 4, "missing.png"),
        (vec!["generate", "", "-o", "o.png"], 3, "spec.prompt"),
        (vec!["generate", &long, "-o", "o.png"], 3, "spec.prompt"),
        (vec!["generate", "x", "-o", "no/such/folder/o.png"], 4, "folder"),
        (vec!["generate", "x", "-o", "o.xyz"], 2, "--format"),
        (vec!["generate", "x"], 2, "--output"),
        (vec!["generate", "x", "-o", "-", "--json"], 2, "--json"),
        (vec!["generate", "x", "-o", "-", "--num-images", "2"], 2, "one picture"),
        (generate(&["--model", "nonesuch"]), 4, "nonesuch"),
        (generate(&["--size", "0x0"]), 3, "spec.width"),
        (generate(&["--size", "7x7"]), 3, "spec.width"),
        (generate(&["--size", "100000x100000"]), 3, "spec.width"),
        (generate(&["--size", "big"]), 2, "512x384"),
        (generate(&["--steps", "0"]), 3, "spec.num_inference_steps"),
        (generate(&["--num-images", "0"]), 3, "spec.num_images"),
        (generate(&["--num-images", "4000000000"]), 3, "spec.num_images"),
        (generate(&["--guidance-scale", "NaN"]), 3, "spec.guidance_scale"),
        (generate(&["--guidance-scale", "-1"]), 3, "spec.guidance_scale"),
        (generate(&["--seed", "-1"]), 2, "--seed"),
        (generate(&["--format", "bmp"]), 2, "png"),
        (generate(&["--socket", "nobody.sock"]), 6, "nobody.sock"),
        (generate(&["--address", "http://127.0.0.1:1"]), 2, "token"),
        (vec!["status"], 6, "easel serve"),
        (vec!["cancel", "gen_1"], 6, "no daemon"),
        (vec!["models", "add", "nowhere"], 4, "nowhere"),
        (vec!["models", "load", "nonesuch"], 4, "nonesuch"),
        (vec!["paint", "x"], 2, "paint"),
    ];
    for (args, code, sentence) in cases {
        let run = world.easel(&args);
        let shown: String = args.join(" ").chars().take(80).collect();
        assert_eq!(run.code, code, "{shown}: {}", run.stderr);
        assert!(run.stderr.contains(sentence), "{shown}: {sentence} is missing in {}", run.stderr);
        assert!(!world.exists("o.png"), "{shown} left a file");
    }
}

#[test]
fn json_is_one_object_a_line_from_accepted_to_succeeded() {
    let world = World::new();
    let run = world.easel(&["generate", "x", "-o", "out.png", "--seed", "9", "--json", "--size", "100x100"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let events = run.json();
    let names: Vec<_> =
        events.iter().map(|event| event["event"].as_str().expect("every line says what it is")).collect();
    assert_eq!((names[0], names[1]), ("accepted", "demonstration"));
    assert_eq!(names[names.len() - 2..], ["result", "succeeded"]);
    let accepted = &events[0];
    assert_eq!(accepted["seed"], 9);
    assert_eq!((&accepted["width"], &accepted["height"]), (&96.into(), &96.into()));
    assert!(accepted["notes"][0].as_str().expect("a note").contains("rounded"), "{accepted}");
    let steps: Vec<_> = events.iter().filter(|e| e["event"] == "progress" && e["stage"] == "denoise").collect();
    assert_eq!(steps.last().expect("steps")["done"], 4);
    let fractions: Vec<_> = events.iter().filter_map(|event| event["fraction"].as_f64()).collect();
    assert!(fractions.windows(2).all(|pair| pair[0] <= pair[1]), "{fractions:?}");
    let result = &events[events.len() - 2];
    assert_eq!((result["file"].as_str(), result["format"].as_str()), (Some("out.png"), Some("png")));
    assert_eq!(result["size_bytes"], world.read("out.png").len());
    assert!(events[events.len() - 1]["timings"].as_array().is_some_and(|timings| timings.len() >= 3));

    let run = world.easel(&["generate", "", "-o", "other.png", "--json"]);
    let error = run.json().pop().expect("an event");
    assert_eq!((run.code, &error["event"], &error["exit_code"]), (3, &"error".into(), &3.into()));
    assert_eq!((&error["code"], &error["reason"]), (&"INVALID_ARGUMENT".into(), &"INVALID_REQUEST".into()));
    assert_eq!(error["violations"][0]["field"], "spec.prompt");
}

#[test]
fn several_pictures_and_previews_become_files_with_numbers() {
    let world = World::new();
    world.ok(&["generate", "x", "-o", "out.png", "--num-images", "3", "--seed", "5", "--previews", "seen"]);
    world.ok(&["generate", "x", "-o", "second.png", "--seed", "6"]);
    assert_eq!(world.read("out-1.png"), world.read("second.png"), "image 1 has the seed after the first");
    assert!(world.exists("out-0.png") && world.exists("out-2.png") && !world.exists("out.png"));
    let previews = world.list("seen");
    assert!(!previews.is_empty() && previews.iter().all(|name| name.starts_with("preview-")), "{previews:?}");
    assert!(previews.iter().all(|name| world.read(&format!("seen/{name}")).starts_with(&[0xff, 0xd8])), "JPEG");
    let again = world.easel(&["generate", "x", "-o", "third.png", "--previews", "seen"]);
    assert_eq!(again.code, 3, "old previews are kept: {}", again.stderr);
}

#[test]
fn the_ending_chooses_the_format() {
    let world = World::new();
    let magic: [(&str, &[u8]); 4] =
        [("a.jpg", &[0xff, 0xd8]), ("a.webp", b"RIFF"), ("a.tiff", b"II*\0"), ("a.PNG", b"\x89PNG")];
    for (name, begin) in magic {
        world.ok(&["generate", "x", "-o", name]);
        assert!(world.read(name).starts_with(begin), "{name}");
    }
    world.ok(&["generate", "x", "-o", "b.png", "--format", "jpeg"]);
    assert!(world.read("b.png").starts_with(&[0xff, 0xd8]), "--format wins");
}

#[test]
fn a_daemon_serves_its_clients_until_it_is_told_to_stop() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let run = world.easel(&["generate", "x", "-o", "socket.png", "--seed", "3"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("easel serve"), "no hint when one runs: {}", run.stderr);
    let address = daemon.address();
    let run = world.easel(&["generate", "x", "-o", "tcp.png", "--seed", "3", "--address", &address]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(world.read("socket.png"), world.read("tcp.png"));
    world.write("wrong-token", b"0123\n");
    let run = world.easel(&["models", "--address", &address, "--token-file", "wrong-token"]);
    assert_eq!(run.code, 6, "a wrong token: {}", run.stderr);
    let status = world.ok(&["status", "--json"]).json().remove(0);
    assert_eq!((&status["ended"]["succeeded"], &status["running"]), (&2.into(), &0.into()));
    assert_eq!(world.easel(&["cancel", "gen_nonesuch"]).code, 4);
    assert!(world.exists("state/run/daemon.json") && world.exists("state/run/easel.sock"));
    assert_eq!(world.mode("state/token"), 0o600);
    assert_eq!(world.mode("state/run/daemon.json"), 0o600);
    assert_eq!(world.mode("state/run/easel.sock"), 0o600);
    assert_eq!(world.mode("state/run"), 0o700);
    assert_eq!(daemon.terminate(), 0);
    assert!(!world.exists("state/run/daemon.json") && !world.exists("state/run/easel.sock"), "it cleans up");
}

#[test]
fn a_running_generation_is_finished_before_the_daemon_stops() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let mut client = world.spawn(&["generate", "x", "-o", "out.png", "--steps", "20", "--json"]);
    client.wait_for_line("\"stage\":\"denoise\"");
    let code = daemon.terminate();
    let run = client.end();
    assert_eq!((run.code, code), (0, 0), "{}", run.stderr);
    assert_eq!(png_size(&world.read("out.png")), (256, 256));
}

#[test]
fn a_second_daemon_is_refused_with_the_place_of_the_first() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let run = world.easel(&["serve"]);
    assert_eq!(run.code, 8, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("pid {}", daemon.pid())), "{}", run.stderr);
    assert!(run.stderr.contains(&daemon.address()), "{}", run.stderr);
    world.ok(&["status"]);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_killed_daemon_leaves_nothing_that_hinders_the_next() {
    let world = World::new();
    let daemon = world.serve(&[]);
    daemon.kill();
    assert!(world.exists("state/run/easel.sock"), "a stale socket");
    let run = world.easel(&["generate", "x", "-o", "out.png"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("no daemon answers"), "{}", run.stderr);
    let daemon = world.serve(&[]);
    world.ok(&["status"]);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn ctrl_c_cancels_the_generation_and_exits_130() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let mut client = world.spawn(&["generate", "x", "-o", "out.png", "--steps", "100", "--json"]);
    client.wait_for_line("\"stage\":\"denoise\"");
    client.signal("INT");
    let run = client.end();
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert!(run.stderr.contains("is cancelled"), "{}", run.stderr);
    assert!(!world.exists("out.png"));
    world.wait_for_status(|status| status["ended"]["cancelled"] == 1 && status["running"] == 0);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn ctrl_c_without_a_daemon_leaves_nothing_behind() {
    let world = World::new();
    let mut client = world.spawn(&["generate", "x", "-o", "out.png", "--steps", "100", "--json"]);
    client.wait_for_line("\"stage\":\"denoise\"");
    let begin = Instant::now();
    client.signal("INT");
    assert_eq!(client.end().code, 130);
    assert!(begin.elapsed() < Duration::from_secs(5), "it does not wait for the picture");
    assert!(!world.exists("out.png"));
    assert_eq!(world.temporary_files(), 0);
}

#[test]
fn a_killed_client_cancels_its_generation() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let mut client = world.spawn(&["generate", "x", "-o", "out.png", "--steps", "100", "--json"]);
    client.wait_for_line("\"stage\":\"denoise\"");
    client.signal("KILL");
    world.wait_for_status(|status| status["ended"]["cancelled"] == 1 && status["running"] == 0);
    world.ok(&["generate", "x", "-o", "next.png"]);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn cancel_stops_a_generation_by_its_id() {
    let world = World::new();
    let daemon = world.serve(&[]);
    let mut client = world.spawn(&["generate", "x", "-o", "out.png", "--steps", "100", "--json"]);
    let accepted = client.wait_for_line("\"event\":\"accepted\"");
    client.wait_for_line("\"stage\":\"denoise\"");
    let accepted: serde_json::Value = serde_json::from_str(&accepted).expect("JSON");
    let answer = world.ok(&["cancel", accepted["id"].as_str().expect("an id"), "--json"]).json().remove(0);
    assert_eq!((&answer["outcome"], &answer["at"]["stage"]), (&"was_running".into(), &"denoise".into()));
    let run = client.end();
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert_eq!(run.json().pop().expect("an event")["reason"], "CANCELLED");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn an_added_model_is_remembered() {
    let world = World::new();
    std::fs::create_dir(world.path("my-model")).expect("made");
    world.ok(&["models", "add", "my-model", "--name", "fox"]);
    let names = |run: world::Run| -> Vec<String> {
        run.json().iter().map(|model| model["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(world.ok(&["models", "--json"])), ["drill", "fox"]);
    let daemon = world.serve(&[]);
    assert_eq!(names(world.ok(&["models", "list", "--json"])), ["drill", "fox"]);
    let again = world.easel(&["models", "add", "my-model", "--name", "fox"]);
    assert_eq!(again.code, 3, "the name is taken: {}", again.stderr);
    world.ok(&["models", "load", "fox"]);
    world.ok(&["generate", "x", "-o", "out.png", "--model", "fox"]);
    world.ok(&["models", "unload", "fox"]);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn settings_come_from_defaults_file_environment_and_flags_in_this_order() {
    let world = World::new();
    world.write("easel.toml", b"max_queue = 5\ncpu_slots = 2\n[models]\nfox = \"checkpoints/fox\"\n");
    let config = |args: &[&str]| {
        let args = [&["config", "--json", "--config", "easel.toml"], args].concat();
        let run = world.easel_with_env(&args, &[("EASEL_MAX_QUEUE", "6")]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.json()
    };
    let rows = config(&["--threads", "3"]);
    let find = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key} is not shown"));
    assert_eq!((&find("condition_size")["value"], &find("condition_size")["origin"]), (&512.into(), &"default".into()));
    assert_eq!(find("cpu_slots")["value"], 2);
    assert!(find("cpu_slots")["origin"].as_str().expect("an origin").ends_with("easel.toml"));
    assert_eq!(
        (&find("max_queue")["value"], &find("max_queue")["origin"]),
        (&6.into(), &"environment EASEL_MAX_QUEUE".into())
    );
    assert_eq!((&find("threads")["value"], &find("threads")["origin"]), (&3.into(), &"flag --threads".into()));
    assert!(find("models.fox")["value"].as_str().expect("a path").starts_with('/'));
    let table = world.ok(&["config"]);
    assert!(
        table.text().lines().any(|line| line.starts_with("port") && line.contains("EASEL_PORT")),
        "{}",
        table.text()
    );

    world.write("wrong.toml", b"max_que = 5\n");
    let run = world.easel(&["generate", "x", "-o", "o.png", "--config", "wrong.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("wrong.toml") && run.stderr.contains("max_queue"), "{}", run.stderr);
}

#[test]
fn the_token_is_made_once_and_printed() {
    let world = World::new();
    let token = world.ok(&["token"]).text();
    assert_eq!(token.trim().len(), 64);
    assert_eq!(world.ok(&["token"]).text(), token);
    assert_eq!(world.mode("state/token"), 0o600);
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let world = World::new();
    let help = world.ok(&["--help"]).text();
    for expected in ["Examples:", "easel edit", "Exit codes:", "130"] {
        assert!(help.contains(expected), "{expected} is missing in {help}");
    }
    assert!(world.ok(&["generate", "--help"]).text().contains("out-0.png"));
    assert!(world.ok(&["--version"]).text().starts_with("easel "));
}

#[test]
fn precisions_are_shown_quantised_and_measured() {
    let world = World::with_engine("dreamlite");
    let env = [("EASEL_UNET_PRECISION", "int8"), ("EASEL_ENCODER_PRECISION", "q4k")];
    let listed = world.easel_with_env(&["models", "--json"], &env);
    let model = &listed.json()[0];
    assert_eq!((&model["unet_precision"], &model["vae_precision"]), (&"int8".into(), &"f32".into()));
    assert_eq!(model["text_encoder_precision"], "q4k");
    let fallbacks = model["fallback_layers"].as_array().expect("a list");
    assert!(fallbacks.iter().all(|layer| layer.as_str().is_some_and(|name| name.ends_with(" as q8_0"))), "{model}");
    assert_eq!(world.ok(&["models", "--json"]).json()[0]["text_encoder_precision"], "f32", "small encoders stay whole");

    let refused = world.easel(&["models", "quantize", "dreamlite-nano"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    let refused = world.easel(&["models", "quantize", "nobody", "--unet-precision", "int8"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let written = world.ok(&[
        "models",
        "quantize",
        "dreamlite-nano",
        "--unet-precision",
        "int8",
        "--vae-precision",
        "int8",
        "--json",
    ]);
    assert_eq!(written.json().len(), 2);
    assert!(written.json().iter().all(|file| file["bytes"].as_u64().is_some_and(|bytes| bytes > 10_000)));

    world.write("prompts.txt", b"a red circle\n\n");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/dreamlite-nano");
    let run = world.ok(&["selftest", "--quality", model, "--prompts", "prompts.txt", "--json"]);
    let (pictures, layers): (Vec<_>, Vec<_>) = run.json().into_iter().partition(|line| line["event"] == "picture");
    assert_eq!(pictures.len(), 6);
    assert!(pictures.iter().all(|line| line["psnr_db"].as_f64().is_none_or(|psnr| psnr > 20.0)), "{pictures:?}");
    assert!(layers.iter().any(|line| line["network"] == "text_encoder" && line["precision"] == "q8_0"));
    assert!(layers.iter().all(|line| line["relative_error"].as_f64().is_some_and(|error| error < 0.3)));
}
