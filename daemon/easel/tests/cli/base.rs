//! The base checkpoint and LoRAs through a daemon, from the command line: guidance, negative prompts, steps, adapters by name.

use serde_json::Value;

use crate::world::{Run, World, png_size};

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens");

/// A daemon that knows the small random base checkpoint and the adapters beside it.
fn world() -> (World, crate::world::Daemon) {
    let world = World::with_engine("dreamlite");
    let daemon = world.serve(&[
        "--models",
        &format!("base={GOLDENS}/checkpoints/micro-base"),
        "--lora-folder",
        &format!("{GOLDENS}/lora"),
    ]);
    (world, daemon)
}

fn draw(world: &World, file: &str, more: &[&str]) -> Run {
    let common = [
        "generate", "a boat", "--model", "base", "--size", "256x256", "--steps", "2", "--seed", "3", "--json", "-o",
        file,
    ];
    world.easel(&[&common, more].concat())
}

fn accepted(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.json().into_iter().find(|line| line["event"] == "accepted").expect("the first event")
}

#[test]
fn guidance_negative_prompts_and_steps_reach_the_base_checkpoint() {
    let (world, daemon) = world();
    let plain = accepted(&draw(&world, "plain.png", &[]));
    assert_eq!(plain["guidance_scale"], 3.5);
    assert_eq!(png_size(&world.read("plain.png")), (256, 256));
    for (file, more) in
        [("scale.png", &["--guidance-scale", "7.5"][..]), ("negative.png", &["--negative-prompt", "blurry and dark"])]
    {
        accepted(&draw(&world, file, more));
        assert_ne!(world.read("plain.png"), world.read(file), "{file}");
    }
    let args = ["generate", "a boat", "--model", "base", "--size", "256x256", "--seed", "3", "--json"];
    let long = world.easel(&[&args[..], &["--steps", "28", "-o", "long.png"]].concat());
    assert_eq!(accepted(&long)["num_inference_steps"], 28);
    assert_ne!(world.read("plain.png"), world.read("long.png"));
    let edit = |file: &str, scale: &str| {
        let args =
            ["edit", "plain.png", "make it red", "--model", "base", "--size", "256x256", "--steps", "2", "--seed", "3"];
        accepted(&world.easel(&[&args[..], &["--image-guidance-scale", scale, "--json", "-o", file]].concat()))
    };
    assert_eq!(edit("weak.png", "1")["image_guidance_scale"], 1.0);
    edit("strong.png", "4");
    assert_ne!(world.read("weak.png"), world.read("strong.png"));

    let ignored = world.easel(&[
        "generate",
        "a boat",
        "--negative-prompt",
        "x",
        "--guidance-scale",
        "2",
        "--json",
        "-o",
        "nano.png",
    ]);
    let notes = accepted(&ignored)["notes"].to_string();
    assert!(notes.contains("guidance_scale is ignored") && notes.contains("negative_prompt is ignored"), "{notes}");
    let models = world.ok(&["models", "--json"]).json();
    let base = models.iter().find(|model| model["name"] == "base").expect("it is listed");
    assert!(base["weights_sha256"].as_str().is_some_and(|hash| hash.len() == 64), "{base}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn loras_are_listed_used_and_refused_by_name() {
    let (world, daemon) = world();
    let listed = world.ok(&["loras", "--json"]).json();
    let kohya = listed.iter().find(|lora| lora["name"] == "attention_kohya").expect("it is listed");
    assert_eq!((&kohya["max_rank"], &kohya["models"]), (&6.into(), &serde_json::json!(["base"])));
    assert!(world.ok(&["loras"]).text().contains("attention_kohya"));

    accepted(&draw(&world, "plain.png", &[]));
    // The files say which LoRAs were used, unless that is off.
    let args = ["--no-provenance", "--lora", "attention_kohya:0.5", "--lora", "convolutions_peft"];
    let with = accepted(&draw(&world, "with.png", &args));
    assert_eq!(with["loras"][0]["name"], "attention_kohya");
    assert_eq!((&with["loras"][0]["weight"], &with["loras"][1]["weight"]), (&0.5.into(), &1.0.into()));
    assert_ne!(world.read("plain.png"), world.read("with.png"));
    let args = ["--no-provenance", "--lora", "attention_diffusers:0.5", "--lora", "convolutions_older"];
    accepted(&draw(&world, "again.png", &args));
    assert_eq!(world.read("with.png"), world.read("again.png"), "the same factors in other formats");
    accepted(&draw(&world, "after.png", &[]));
    assert_eq!(world.read("plain.png"), world.read("after.png"), "nothing is left of them");

    for (lora, code, part) in [
        ("nobody", 4, "there is no LoRA named"),
        ("../x", 3, "spec.loras[0].name"),
        ("attention_kohya:9", 3, "from -4 to 4"),
        ("attention_kohya:much", 2, "is not a number"),
        ("case__attention", 3, "cannot be used as a LoRA"),
    ] {
        let run = draw(&world, "no.png", &["--lora", lora]);
        assert!(run.code == code && run.stderr.contains(part), "{lora}: {} {}", run.code, run.stderr);
    }
    let run = world.easel(&["generate", "x", "--lora", "attention_kohya", "-o", "no.png"]);
    assert!(run.code == 3 && run.stderr.contains("does not fit the model"), "{} {}", run.code, run.stderr);
    assert!(!world.exists("no.png"));
    assert_eq!(daemon.terminate(), 0);
}
