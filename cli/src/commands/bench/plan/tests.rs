//! From what is typed to what is measured.

use super::*;
use crate::args::{Args, Command, expand_short_options};
use clap::Parser;

fn plan(line: &str) -> Result<Plan<AskedCache>> {
    let words = format!("turboquant bench {line}");
    let args = Args::try_parse_from(expand_short_options(words.split_whitespace().map(Into::into)))?;
    let Command::Bench(mut args) = args.command else {
        panic!("bench expected")
    };
    if !line.contains("--layer-adaptive") {
        args.layer_adaptive.clear(); // whatever the environment of the tests says
    }
    Plan::new(&args)
}

fn groups(line: &str) -> Vec<String> {
    plan(line).unwrap().groups.iter().map(Group::to_string).collect()
}

/// What is measured if every choice comes to `choice`.
fn resolved(line: &str, choice: &str) -> Plan {
    let choose = |_: &Group<AskedCache>, _: AskedCache| Ok(choice.parse()?);
    plan(line).unwrap().resolve(choose).unwrap()
}

#[track_caller]
fn refused(line: &str, parts: &[&str]) {
    let message = format!("{:#}", plan(line).unwrap_err());
    for part in parts {
        assert!(message.contains(part), "{line}: `{part}` is not in {message}");
    }
}

#[test]
fn the_default_is_llama_benchs() {
    let plan = plan("").unwrap();
    assert_eq!(groups(""), ["pp512 over f16", "tg128 over f16"]);
    assert_eq!(plan.varies, Varies::default());
    assert_eq!((plan.groups[0].n_batch, plan.groups[0].n_ubatch), (2048, 512));
    assert_eq!(plan.n_ctx(), 512);
    assert_eq!(plan.steps(5), 12);
}

#[test]
fn everything_is_combined_in_llama_benchs_order() {
    assert_eq!(
        groups("-p 16 -n 4 -pg 8,2 -d 0,32 -ctk f16,q8_0"),
        [
            "pp16 over f16/f16",
            "tg4 over f16/f16",
            "pp8+tg2 over f16/f16",
            "pp16 @ d32 over f16/f16",
            "tg4 @ d32 over f16/f16",
            "pp8+tg2 @ d32 over f16/f16",
            "pp16 over q8_0/f16",
            "tg4 over q8_0/f16",
            "pp8+tg2 over q8_0/f16",
            "pp16 @ d32 over q8_0/f16",
            "tg4 @ d32 over q8_0/f16",
            "pp8+tg2 @ d32 over q8_0/f16",
        ]
        .map(|name| name.replace("f16/f16", "f16"))
    );
    assert_eq!(
        groups("-p 1-4*2 -p 7 -n 0"),
        ["pp1", "pp2", "pp4", "pp7"].map(|name| format!("{name} over f16"))
    );
}

#[test]
fn caches_are_a_product_or_pairs_and_modes_apply_to_each() {
    let caches = |line: &str| -> Vec<String> {
        let groups = plan(&format!("-n 0 {line}")).unwrap().groups;
        groups.iter().map(|group| group.caches[0].to_string()).collect()
    };
    assert_eq!(
        caches("-ctk f16,turbo4 -ctv f16,turbo3"),
        ["f16", "f16/turbo3", "turbo4/f16", "turbo4/turbo3"]
    );
    assert_eq!(caches("--kv f16,q8_0/turbo4,turbo3"), ["f16", "q8_0/turbo4", "turbo3"]);
    assert_eq!(caches("--kv turbo2 --layer-adaptive 0,7"), ["turbo2@0", "turbo2@7"]);
    refused("--kv turbo2@1 --layer-adaptive 0", &["turbo2@1", "one of them"]);
    refused("--layer-adaptive 8", &["0 to 7", "`8`"]);
    refused("--kv f16 -ctk f16", &["cannot be used with"]);
}

#[test]
fn with_a_baseline_the_caches_of_a_test_form_one_group() {
    assert_eq!(
        groups("-p 16 -n 4 --kv turbo4,turbo3 --ab f16"),
        ["pp16 over f16, turbo4, turbo3", "tg4 over f16, turbo4, turbo3"]
    );
    assert_eq!(groups("-p 16 -n 0 --kv turbo4,f16 --ab f16"), ["pp16 over turbo4, f16"]);
}

#[test]
fn auto_is_a_type_like_others_until_it_is_resolved() {
    assert_eq!(groups("-n 0 -ctk auto -ctv auto"), ["pp512 over auto"]);
    assert_eq!(groups("-n 0 -ctk AUTO -ctv turbo4"), ["pp512 over auto/turbo4"]);
    assert_eq!(
        groups("-n 0 --kv q8_0/auto,auto@0"),
        ["pp512 over q8_0/auto", "pp512 over auto@0"]
    );
    assert_eq!(
        groups("-n 0 --kv auto --ab f16"),
        ["pp512 over f16, auto"],
        "the baseline comes first"
    );
    refused("--kv auto@9", &["auto@9", "0 to 7"]);
    refused("--kv auto/turbo9", &["auto/turbo9", "turbo4, turbo3", ", auto"]);
    refused("-ctk turbo9", &["turbo4, turbo3", ", auto"]);
    refused("--kv auto@0 --layer-adaptive 7", &["auto@0", "one of them"]);
}

#[test]
fn each_model_and_placement_is_chosen_for() {
    let mut asked = Vec::new();
    let plan = plan("-n 0 -m a.gguf,b.gguf -ngl 0,9 --kv auto,turbo3")
        .unwrap()
        .resolve(|group, cache| {
            asked.push((group.model, group.gpu_layers, cache.to_string()));
            let name = if group.model == 0 { "turbo4" } else { "q8_0/turbo4" };
            Ok(name.parse()?)
        })
        .unwrap();
    let auto = || "auto".to_owned();
    assert_eq!(
        asked,
        [
            (0, Some(0), auto()),
            (0, Some(9), auto()),
            (1, Some(0), auto()),
            (1, Some(9), auto())
        ]
    );
    let names: Vec<String> = plan.groups.iter().map(Group::to_string).collect();
    assert_eq!(names[0..2], ["pp512 over turbo4", "pp512 over turbo3"]);
    assert_eq!(names[4..6], ["pp512 over q8_0/turbo4", "pp512 over turbo3"]);
}

#[test]
fn what_auto_comes_to_is_not_measured_twice() {
    let names = |line: &str, choice: &str| -> Vec<String> {
        resolved(line, choice).groups.iter().map(Group::to_string).collect()
    };
    assert_eq!(
        names("-p 8 -n 4 --kv auto,turbo4", "turbo4"),
        ["pp8 over turbo4", "tg4 over turbo4"]
    );
    assert_eq!(names("-p 8 -n 0 --kv auto --ab f16", "f16"), ["pp8 over f16"]);
    assert_eq!(
        names("-p 8,8 -n 0 --kv auto", "f16"),
        ["pp8 over f16"; 2],
        "what was typed twice still is"
    );
}

#[test]
fn what_cannot_be_chosen_ends_the_plan() {
    let outcome = plan("--kv auto").unwrap().resolve(|_, _| bail!("nothing fits"));
    assert_eq!(outcome.unwrap_err().to_string(), "nothing fits");
}

#[test]
fn columns_appear_when_something_varies_or_is_unusual() {
    let varies = |line: &str| plan(line).unwrap().varies;
    assert!(varies("-ctk turbo4").type_k && !varies("-ctk turbo4").type_v);
    assert!(varies("--kv f16,q8_0/f16").type_k && !varies("--kv f16,q8_0/f16").type_v);
    assert!(varies("-b 128").n_batch && varies("-ub 64,128").n_ubatch && varies("-t 99").n_threads);
    assert!(varies("-fa 1").flash_attn && varies("-nkvo 0,1").no_kv_offload && varies("-mmp 0").load_mode);
    assert!(varies("--kv turbo2@0").mode);
    let auto = resolved("-ctk auto", "f16").varies;
    assert!(
        auto.type_k && !auto.type_v,
        "auto is not the default, whatever it comes to"
    );
    assert!(resolved("--kv auto", "turbo2@0").varies.mode && !resolved("--kv auto", "turbo4").varies.mode);
}

#[test]
fn what_llama_bench_knows_and_we_do_not_is_refused_with_the_reason() {
    refused("--numa distribute", &["--numa distribute", "numactl"]);
    refused("-sm row", &["--split-mode row", "layers"]);
    refused("--prio 2", &["nice"]);
    refused("-C 0xff", &["--cpu-mask", "taskset"]);
    refused("-fa off", &["flash attention"]);
    refused("-lm mlock", &["locked"]);
    refused("-hf user/model", &["nothing is downloaded"]);
    let secret = format!("{:#}", plan("-hft hf_abc").unwrap_err());
    assert!(!secret.contains("hf_abc"), "{secret}");
    // its defaults are what happens anyway
    plan("-sm layer --poll 50 -C 0x0 --cpu-strict 0 -ncmoe 0 -embd 0 -nopo 0 --repack 1 -dev auto -fitt 0 --prio 0")
        .unwrap();
}

#[test]
fn nothing_and_far_too_much_are_refused() {
    refused("-p 0 -n 0", &["nothing to measure"]);
    refused("-p 1-500 -n 1-500 -d 0-900", &["10000"]);
    refused("-b 0", &["at least 1"]);
    refused("-r 0", &["1..=10000"]);
    refused("-ctk turbo9", &["turbo9", "turbo4"]);
}
