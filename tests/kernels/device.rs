//! What `verify` runs on a device: all of it on the CPU, and that it notices whatever a device may get wrong.

use llama_turboquant::engine::codec::GgmlType;
use llama_turboquant::engine::device_probe::{Probe, RowsOp, RowsShape};
use llama_turboquant::engine::probe::AttentionShape;
use llama_turboquant::verify::device::{
    self, Cell, Claims, DeviceReport, Operators, Outcome, Plan, Registry, RowsKind,
};
use llama_turboquant::{Backend, CancelToken, DeviceInfo, DeviceKind, Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

fn cpu() -> (usize, DeviceInfo) {
    let devices = Backend::init().unwrap().devices().unwrap();
    let mut numbered = devices.into_iter().enumerate();
    numbered.find(|(_, device)| device.kind == DeviceKind::Cpu).unwrap()
}

/// The CPU, under the name of a backend that must run everything, with what `spoil` does to its results.
struct Spoiled<S> {
    cpu: Probe,
    spoil: S,
}

/// What an operator is asked for, and what it answered.
enum Answer<'a> {
    Rows(&'a RowsShape, &'a mut [u8], &'a mut Result<bool>),
    Attention(&'a AttentionShape, &'a mut Result<Option<Vec<f32>>>),
}

impl<S: FnMut(Answer<'_>)> Operators for Spoiled<S> {
    fn rows(&mut self, shape: &RowsShape, from: &[u8], ids: &[i32], to: &mut [u8]) -> Result<bool> {
        // llama.cpp's CPU backend says yes to a copy of packed rows to f16, and aborts
        let aborts = shape.from.block() > 1 && shape.to.block_bytes() == 2;
        let mut answer = if aborts {
            Ok(false)
        } else {
            self.cpu.rows(shape, from, ids, to)
        };
        (self.spoil)(Answer::Rows(shape, to, &mut answer));
        answer
    }

    fn attend(
        &mut self,
        shape: &AttentionShape,
        q: &[f32],
        k: &[u8],
        v: &[u8],
        mask: Option<&[f32]>,
        sinks: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>> {
        let mut answer = self.cpu.attend(shape, q, k, v, mask, sinks);
        (self.spoil)(Answer::Attention(shape, &mut answer));
        answer
    }
}

/// One type and one head size, so that a test takes no time.
fn small() -> Registry {
    let mut registry = Registry::of_engine().unwrap();
    registry.types.retain(|ty| ty.name == "turbo3");
    registry.kernels.heads = vec![(128, 128)];
    registry.kernels.plain.retain(|name| name == "f16");
    registry
}

fn plan() -> Plan {
    Plan {
        quick: true,
        cancel: CancelToken::new(),
    }
}

/// The failures of a device that is the CPU but for `spoil`.
fn failures(spoil: impl FnMut(Answer<'_>)) -> Vec<(Cell, String)> {
    let (number, info) = cpu();
    let cpu = Probe::open(number, 2).unwrap();
    let report = device::check(info, &mut Spoiled { cpu, spoil }, &small(), &plan(), |_, _| ()).unwrap();
    let failed = report.failures();
    failed
        .map(|result| (result.cell.clone(), result.wrong.join("; ")))
        .collect()
}

/// That only cells of one kind fail, with this reason.
#[track_caller]
fn fails(kind: impl Fn(&Cell) -> bool, reason: &str, spoil: impl FnMut(Answer<'_>)) {
    let failed = failures(spoil);
    assert!(!failed.is_empty(), "nothing was noticed");
    for (cell, why) in failed {
        assert!(kind(&cell) && why.contains(reason), "{cell}: {why}");
    }
}

fn encodes(cell: &Cell) -> bool {
    matches!(
        cell,
        Cell::Rows {
            rows: RowsKind::Set { .. } | RowsKind::Encode { .. },
            ..
        }
    )
}

fn decodes(cell: &Cell) -> bool {
    matches!(cell, Cell::Rows { .. }) && !encodes(cell)
}

fn attends(cell: &Cell) -> bool {
    matches!(cell, Cell::Attention { .. })
}

#[test]
fn the_cpu_runs_every_registered_kernel_and_gets_it_right() {
    let (number, info) = cpu();
    let registry = Registry::of_engine().unwrap();
    let mut announced = 0;
    let mut probe = Probe::open(number, 2).unwrap();
    let report = device::check(info, &mut probe, &registry, &plan(), |progress, _| {
        assert_eq!(progress.done, announced);
        announced += 1;
        assert!(announced <= progress.total);
    })
    .unwrap();
    let counts = report.counts();
    let failed: Vec<_> = report.failures().map(|result| (&result.cell, &result.wrong)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // 9 operators on rows and, for few and for many queries, 21 pairs at 7 head sizes
    assert_eq!(
        report.cells.len(),
        9 * registry.types.len() + 2 * 21 * registry.kernels.heads.len()
    );
    assert_eq!(
        (counts.refused, counts.not_run, counts.ties),
        (registry.types.len(), 0, 0)
    );
    for cell in &report.cells {
        let to_f16 = matches!(
            &cell.cell,
            Cell::Rows {
                rows: RowsKind::Decode { to: "f16" },
                ..
            }
        );
        assert_eq!(cell.outcome == Outcome::Refused, to_f16, "{}", cell.cell);
    }
}

/// The kernels that the Metal libraries of this build offer, by name.
fn metal_kernels() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/metal");
    let mut names = BTreeSet::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "metal") {
            let text = std::fs::read_to_string(path).unwrap();
            let quoted = text
                .split("host_name(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            names.extend(quoted.map(str::to_owned));
        }
    }
    names
}

#[test]
fn the_cells_run_every_kernel_of_the_metal_libraries_and_no_other() {
    let registry = Registry::of_engine().unwrap();
    let cells = registry.cells();
    let kernels = cells
        .iter()
        .flat_map(|cell| cell.metal_kernels(&registry.types).unwrap());
    assert_eq!(kernels.collect::<BTreeSet<_>>(), metal_kernels());
}

#[test]
fn a_registered_kernel_that_nothing_ran_is_a_failure() {
    let (_, info) = cpu();
    let registry = small();
    let report = DeviceReport::complete(info, &Claims::All, &registry, Vec::new(), false);
    assert_eq!(report.counts().failed, registry.cells().len());
    assert!(
        report
            .failures()
            .all(|result| result.wrong[0].contains("nothing ran it"))
    );
}

#[test]
fn an_unspoiled_device_fails_nowhere() {
    assert_eq!(failures(|_| ()), []);
}

#[test]
fn an_index_that_is_off_by_one_is_noticed() {
    fails(encodes, "bytes", |answer| {
        if let Answer::Rows(shape, to, _) = answer
            && shape.to.block() > 1
        {
            // the first index of the first block of the second row, which a scattered order may leave unwritten
            let row = to.len() / shape.rows_to;
            to[row + 2] ^= 1;
        }
    });
}

#[test]
fn a_scale_that_is_off_by_a_hundredth_is_noticed() {
    fails(encodes, "bytes", |answer| {
        if let Answer::Rows(shape, to, _) = answer
            && shape.to.block() > 1
        {
            for block in to.chunks_exact_mut(shape.to.block_bytes()) {
                block[0] = block[0].wrapping_add(10);
            }
        }
    });
}

#[test]
fn a_row_that_should_not_be_written_is_noticed() {
    fails(
        |cell| {
            matches!(
                cell,
                Cell::Rows {
                    rows: RowsKind::Set { .. },
                    ..
                }
            )
        },
        "should not be",
        |answer| {
            if let Answer::Rows(shape, to, _) = answer
                && shape.rows_to > shape.rows_from
            {
                let row = to.len() / shape.rows_to;
                for row in to
                    .chunks_exact_mut(row)
                    .filter(|row| row.iter().all(|byte| *byte == 0xa5))
                {
                    row[1] = 0;
                }
            }
        },
    );
}

#[test]
fn a_decoded_value_with_another_last_bit_is_noticed() {
    fails(decodes, "values differ", |answer| {
        if let Answer::Rows(shape, to, _) = answer
            && shape.to.block() == 1
        {
            to[shape.n] ^= 1;
        }
    });
}

#[test]
fn attention_that_is_off_by_three_thousandths_or_no_number_is_noticed() {
    for factor in [1.003, f32::NAN] {
        fails(attends, "relative error", |answer| {
            if let Answer::Attention(_, Ok(Some(out))) = answer {
                out.iter_mut().for_each(|value| *value *= factor);
            }
        });
    }
}

#[test]
fn one_wrong_value_of_attention_is_noticed() {
    fails(attends, "relative error", |answer| {
        if let Answer::Attention(_, Ok(Some(out))) = answer {
            out[7] += 0.05;
        }
    });
}

#[test]
fn a_refusal_of_what_the_build_claims_is_a_failure() {
    fails(attends, "claims it", |answer| {
        if let Answer::Attention(_, result) = answer {
            *result = Ok(None);
        }
    });
}

#[test]
fn a_refusal_of_some_problems_of_a_cell_is_a_failure() {
    fails(attends, "another was not", |answer| {
        if let Answer::Attention(shape, result) = answer
            && shape.logit_softcap > 0.0
        {
            *result = Ok(None);
        }
    });
}

#[test]
fn an_error_of_the_engine_is_the_cells_failure_and_the_rest_goes_on() {
    fails(
        |cell| {
            matches!(
                cell,
                Cell::Rows {
                    rows: RowsKind::Get,
                    ..
                }
            )
        },
        "out of luck",
        |answer| {
            if let Answer::Rows(shape, _, result) = answer
                && shape.op == RowsOp::Get
            {
                *result = Err(Error::Engine("out of luck".into()));
            }
        },
    );
}

#[test]
fn a_device_that_nothing_is_claimed_of_may_refuse_and_is_checked_where_it_does_not() {
    let (number, info) = cpu();
    let info = DeviceInfo {
        backend: "CUDA".into(),
        ..info
    };
    let registry = small();
    let run = |spoil: fn(Answer<'_>)| {
        let cpu = Probe::open(number, 2).unwrap();
        device::check(info.clone(), &mut Spoiled { cpu, spoil }, &registry, &plan(), |_, _| ()).unwrap()
    };
    let refused = run(|answer| match answer {
        Answer::Rows(_, _, result) => *result = Ok(false),
        Answer::Attention(_, result) => *result = Ok(None),
    });
    assert_eq!(refused.counts().refused, registry.cells().len());
    assert!(refused.claims.contains("CUDA"), "{}", refused.claims);
    let wrong = run(|answer| match answer {
        Answer::Rows(_, _, result) => *result = Ok(false),
        Answer::Attention(_, Ok(Some(out))) => out[0] += 1.0,
        Answer::Attention(..) => {}
    });
    assert!(wrong.counts().failed > 0);
}

#[test]
fn what_a_cancellation_left_out_is_neither_passed_nor_failed() {
    let (number, info) = cpu();
    let (registry, plan) = (small(), plan());
    let mut steps = 0;
    let report = device::check(info, &mut Probe::open(number, 2).unwrap(), &registry, &plan, |_, _| {
        steps += 1;
        if steps == 4 {
            plan.cancel.cancel();
        }
    })
    .unwrap();
    let counts = report.counts();
    assert_eq!((steps, counts.passed, counts.failed), (4, 4, 0));
    assert_eq!(counts.not_run, registry.cells().len() - 4);
}

#[test]
fn misuse_of_a_probe_is_an_error_not_an_abort() {
    let (number, _) = cpu();
    let turbo4 = GgmlType::named("turbo4").unwrap();
    let f32 = GgmlType::named("f32").unwrap();
    assert!(Probe::open(99, 1).unwrap_err().to_string().contains("99"));
    assert!(Probe::open(number, 0).unwrap_err().to_string().contains("n_threads"));
    let mut probe = Probe::open(number, 1).unwrap();
    let shape = RowsShape {
        op: RowsOp::Set { wide_ids: true },
        from: f32,
        to: turbo4,
        n: 128,
        rows_from: 1,
        rows_to: 2,
    };
    let mut run = |shape: RowsShape, from: &[u8], ids: &[i32]| {
        let result = probe.rows(&shape, from, ids, &mut [0; 132]);
        result.expect_err("must be refused").to_string()
    };
    assert!(run(shape, &[0; 512], &[2]).contains("row 2 of 2"));
    assert!(run(shape, &[0; 512], &[-1]).contains("row -1"));
    assert!(run(shape, &[0; 511], &[0]).contains("source"));
    assert!(run(shape, &[0; 512], &[]).contains("numbers"));
    assert!(
        run(
            RowsShape {
                from: turbo4,
                rows_from: 2,
                ..shape
            },
            &[0; 132],
            &[0, 1]
        )
        .contains("SET_ROWS")
    );
    assert!(run(RowsShape { n: 64, ..shape }, &[0; 256], &[0]).contains("64"));
}
