//! Thirty-four machines and models with what is chosen for them, derived by hand.
//!
//! How each row is derived. A token of f16 cache takes 160 KiB (27B), 128 KiB (8B), 320 KiB (70B), 32 KiB (1B), 384 KiB (heads of 96),
//! 56 KiB (qwen2 7B) or 48 KiB (gpt-oss 20B); a type takes bits / 16 of that. Scratch of these estimated models, in each pool with
//! layers: 337 MiB and 1 KiB per token (0.36 GiB at 32K, 0.39 at 64K, 0.45 at 128K). What is kept free: a sixteenth of the
//! weights, at most 1 GiB. `need` is weights + cache + scratch + what is kept free.

use super::*;

struct Row {
    machine: &'static str,
    model: &'static str,
    n_ctx: Option<u32>,
    chosen: &'static str,
    why: &'static str,
}

const fn row(
    machine: &'static str,
    model: &'static str,
    n_ctx: Option<u32>,
    chosen: &'static str,
    why: &'static str,
) -> Row {
    Row {
        machine,
        model,
        n_ctx,
        chosen,
        why,
    }
}

const K32: Option<u32> = Some(32_768);
const K64: Option<u32> = Some(65_536);
const K128: Option<u32> = Some(131_072);
const NOTHING: &str = "nothing fits";

const ROWS: [Row; 34] = [
    row(
        "mac-32gb",
        "27B",
        K32,
        "turbo4, 32768 tokens, all layers",
        "need 16.5 + 1.29 + 0.36 + 1 = 19.2 of 21.3 GiB; q8_0's cache of 2.66 is more than 21.3 / 16",
    ),
    row(
        "mac-32gb",
        "27B",
        K64,
        "turbo4, 65536 tokens, all layers",
        "need 16.5 + 2.58 + 0.39 + 1 = 20.5 of 21.3 GiB",
    ),
    row(
        "mac-32gb",
        "27B",
        K128,
        "turbo4, 131072 tokens, 37 layers",
        "need 23.1 with turbo4 and 21.9 with turbo3, of 21.3 GiB: split. (21.3 - 1 - 0.45) / ((16.5 + 5.16) / 40) = 36 layers, and the output",
    ),
    row(
        "mac-32gb",
        "27B",
        None,
        "turbo4, 86784 tokens, all layers",
        "more than 32K, as long as it fits: (21.3 - 1 - 16.5 GiB - 342 MiB) / 42.25 KiB",
    ),
    row(
        "mac-36gb",
        "27B",
        K32,
        "turbo4, 32768 tokens, all layers",
        "need 19.2 of 27 GiB; q8_0's 2.66 and q8_0/turbo4's 1.97 are more than 27 / 16",
    ),
    row(
        "mac-36gb",
        "27B",
        K64,
        "turbo4, 65536 tokens, all layers",
        "need 20.5 of 27 GiB",
    ),
    row(
        "mac-36gb",
        "27B",
        K128,
        "turbo4, 131072 tokens, all layers",
        "need 16.5 + 5.16 + 0.45 + 1 = 23.1 of 27 GiB",
    ),
    row(
        "mac-36gb",
        "27B",
        None,
        "turbo4, 131072 tokens, all layers",
        "all that is chosen unasked fits: 23.1 of 27 GiB",
    ),
    row("mac-16gb", "27B", K32, NOTHING, "16.5 GiB of weights, 11 GiB available"),
    row(
        "mac-24gb",
        "27B",
        K32,
        "turbo3, 32768 tokens, 34 layers",
        "16.5 are more than Metal's 16: split, and main memory's 19 hold everything: 18.24 + 1 with turbo4, 18.08 + 1 with turbo4/turbo3, 17.93 + 1 with turbo3",
    ),
    row(
        "mac-64gb",
        "27B",
        K32,
        "q8_0, 32768 tokens, all layers",
        "ample: q8_0's 2.66 are less than 48 / 16 = 3, f16's 5 are not",
    ),
    row(
        "mac-64gb",
        "27B",
        K128,
        "turbo4, 131072 tokens, all layers",
        "q8_0's 10.6 and q8_0/turbo4's 7.9 are more than 3",
    ),
    row(
        "mac-64gb",
        "70B",
        K64,
        "turbo4, 65536 tokens, all layers",
        "need 39.6 + 5.16 + 0.39 + 1 = 46.1 of 48 GiB",
    ),
    row(
        "mac-128gb",
        "27B",
        K32,
        "f16, 32768 tokens, all layers",
        "ample: f16's 5 are less than 96 / 16 = 6",
    ),
    row(
        "mac-128gb",
        "8B",
        K128,
        "turbo4, 131072 tokens, all layers",
        "q8_0/turbo4's 6.3 are more than 6",
    ),
    row(
        "mac-192gb",
        "8B",
        K128,
        "q8_0, 131072 tokens, all layers",
        "ample: q8_0's 8.5 are less than 144 / 16 = 9",
    ),
    row(
        "mac-8gb",
        "8B",
        K32,
        NOTHING,
        "4.58 + 0.40 of scratch and program + 0.29 kept free are more than the 5 GiB available",
    ),
    row(
        "pc-gpu-24gb",
        "27B",
        K32,
        "turbo4, 32768 tokens, all layers",
        "need 19.2 of 23.5 GiB; 23.5 / 16 = 1.47 is less than q8_0/turbo4's 1.97",
    ),
    row(
        "pc-gpu-24gb",
        "27B",
        K128,
        "turbo4, 131072 tokens, all layers",
        "need 23.1 of 23.5 GiB; f16 would need 38",
    ),
    row(
        "pc-gpu-16gb",
        "27B",
        K32,
        "turbo4, 32768 tokens, 32 layers",
        "16.5 are more than 15.5: (15.5 - 1 - 0.36) / ((16.5 + 1.29) / 40) = 31 layers, and the output",
    ),
    row(
        "pc-two-gpus",
        "27B",
        K128,
        "turbo4, 131072 tokens, all layers",
        "22.7 over 22 and 23.5 GiB",
    ),
    row(
        "pc-two-gpus",
        "70B",
        K32,
        "turbo4, 32768 tokens, 80 layers",
        "39.6 + 2.58 + 2 x 0.36 + 2 = 44.9 of 45.5 GiB, but a layer of 0.53 GiB is left over on the cards' border: one layer stays behind",
    ),
    row(
        "pc-gpu-48gb",
        "70B",
        K32,
        "turbo4, 32768 tokens, all layers",
        "need 39.6 + 2.58 + 0.36 + 1 = 43.5 of 47.5 GiB",
    ),
    row(
        "pc-gpu-48gb",
        "70B",
        K128,
        "turbo4, 131072 tokens, 74 layers",
        "need 51.4 with turbo4, 48.9 with turbo3: split. (47.5 - 1 - 0.45) / ((39.6 + 10.3) / 80) = 73 layers, and the output",
    ),
    row(
        "pc-gpu-8gb",
        "8B",
        None,
        "turbo4, 70912 tokens, all layers",
        "(7.5 - 0.29 - 4.58 GiB - 341 MiB) / 34 KiB",
    ),
    row(
        "pc-gpu-8gb",
        "8B",
        K128,
        "turbo4, 131072 tokens, 25 layers",
        "need 9.4 with turbo4, 8.4 with turbo3 of 7.5: split. (7.5 - 0.29 - 0.45) / ((4.58 + 4.13) / 32) = 24 layers, and the output",
    ),
    row(
        "container-8gb",
        "8B",
        K128,
        "turbo2@0, 129280 tokens, processor",
        "of the 7.5 GiB that the limit leaves, 0.29 kept free: not even turbo2@0 fits, so the longest: 2292 MiB / 18.14 KiB",
    ),
    row(
        "raspberry-pi-5-8gb",
        "8B",
        None,
        "turbo4, 53248 tokens, processor",
        "(7 - 0.29 - 4.58 GiB - 406 MiB) / 34.14 KiB",
    ),
    row(
        "pc-no-gpu-32gb",
        "27B",
        None,
        "turbo4, 131072 tokens, processor",
        "need 23.2 of 28 GiB; nothing better, because on a processor it is slower",
    ),
    row(
        "pc-unusable-gpu",
        "1B",
        K32,
        "turbo4, 32768 tokens, processor",
        "the card is no device of the engine; f16 is ample (1 of 28 GiB) but slower",
    ),
    row(
        "pc-gpu-24gb",
        "1B",
        K32,
        "f16, 32768 tokens, all layers",
        "ample: 1 GiB is less than 23.5 / 16 = 1.47",
    ),
    row(
        "pc-no-gpu-32gb",
        "heads of 96",
        K32,
        "q8_0, 32768 tokens, processor",
        "no turbo block divides 96; q8_0 is the next best that is not slower than it must be",
    ),
    row(
        "pc-gpu-24gb",
        "qwen2 7B",
        K128,
        "q8_0/turbo4, 131072 tokens, all layers",
        "K stays at q8_0; 2.8 GiB fit, q8_0's 3.7 are more than 1.47",
    ),
    row(
        "pc-gpu-16gb",
        "gpt-oss 20B",
        K32,
        "f16/turbo4, 32768 tokens, all layers",
        "any quantized K costs quality there; f16's 1.5 GiB are more than 15.5 / 16",
    ),
];

fn named(name: &str) -> Footprint {
    match name {
        "1B" => model(0.75, 16, 8, 64),
        "8B" => model_8b(),
        "27B" => model_27b(),
        "70B" => model(39.6, 80, 8, 128),
        "heads of 96" => model(2.23, 32, 32, 96),
        "qwen2 7B" => of_architecture(model(4.36, 28, 4, 128), "qwen2"),
        "gpt-oss 20B" => of_architecture(model(11.3, 24, 8, 64), "gpt-oss"),
        other => panic!("no model {other}"),
    }
}

#[test]
fn every_row_is_chosen_as_derived() {
    let mut wrong = Vec::new();
    for row in &ROWS {
        let wishes = Wishes {
            n_ctx: row.n_ctx,
            ..Wishes::default()
        };
        let chosen = match decide(&named(row.model), &machine(row.machine), &wishes) {
            Ok(decision) => short(&decision),
            Err(NoFit::Memory(_)) => NOTHING.to_owned(),
            Err(other) => panic!("{} {}: {other}", row.machine, row.model),
        };
        if chosen != row.chosen {
            wrong.push(format!(
                "{} {} {:?}: {chosen}, derived {}",
                row.machine, row.model, row.n_ctx, row.chosen
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documentation_has_these_rows() {
    let mut table = String::from("| machine | model | context asked | chosen | why |\n|---|---|---|---|---|\n");
    for row in &ROWS {
        let asked = row.n_ctx.map_or("-".to_owned(), |n| n.to_string());
        table += &format!(
            "| {} | {} | {asked} | {} | {} |\n",
            row.machine, row.model, row.chosen, row.why
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/choosing.md");
    let text = std::fs::read_to_string(&path).expect("docs/choosing.md");
    let (before, rest) = text.split_once("<!-- rows -->\n").expect("where the rows begin");
    let (_, after) = rest.split_once("<!-- end of rows -->").expect("where they end");
    if std::env::var_os("UPDATE_CHOICES").is_some() {
        let new = format!("{before}<!-- rows -->\n{table}<!-- end of rows -->{after}");
        std::fs::write(&path, new).expect("docs/choosing.md");
    } else {
        assert!(
            rest.starts_with(&table),
            "docs/choosing.md is stale: UPDATE_CHOICES=1 writes it anew"
        );
    }
}
