//! `turboquant report`: one page from the results of the measuring subcommands.

mod charts;
mod html;
mod page;
mod read;
mod records;
mod sections;

use crate::args::measure::OutputArgs;
use crate::args::report::ReportArgs;
use crate::console;
use crate::measuring::record::{Sink, write_whole};
use anyhow::{Context, Result, bail};
use charts::WIDE;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reads all files, then writes the page.
///
/// # Errors
/// A file that is no record, or an output that cannot be written; the page is then not written.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    check_outputs(args)?;
    let sources = args
        .files
        .iter()
        .map(|file| read::read(file))
        .collect::<Result<Vec<_>>>()?;
    let sections = sections::all(&sources);
    let page = page::page(&args.title, &sources, &sections);
    write_whole(&args.out, &page)?;
    let mut charts = 0;
    for figure in sections.iter().flat_map(sections::Section::figures) {
        charts += 1;
        if let Some(dir) = &args.svg_dir {
            write_whole(
                &dir.join(format!("{}.svg", figure.slug)),
                &figure.chart.draw(WIDE).file(),
            )?;
        }
    }
    for source in sources.iter().filter(|source| source.is_incomplete()) {
        console::say!("warning: {} is incomplete: the measurement was stopped", source.file);
    }
    println!(
        "{}: {charts} {}, {} {}, {}",
        args.out.display(),
        plural(charts, "chart"),
        sources.len(),
        plural(sources.len(), "record"),
        charts::axis::bytes(page.len() as f64)
    );
    Ok(ExitCode::SUCCESS)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}

/// Mistakes in paths, found before anything is read.
fn check_outputs(args: &ReportArgs) -> Result<()> {
    let mut seen: Vec<PathBuf> = Vec::new();
    for file in &args.files {
        // one that does not exist is reported when it is read
        let Ok(path) = file.canonicalize() else { continue };
        if seen.contains(&path) {
            bail!("{} is given twice", file.display());
        }
        seen.push(path);
    }
    if args.out.canonicalize().is_ok_and(|out| seen.contains(&out)) {
        bail!(
            "--out {} is one of the records; choose another name for the page",
            args.out.display()
        );
    }
    Sink::open(&OutputArgs {
        json: false,
        out: Some(args.out.clone()),
    })?;
    if let Some(dir) = &args.svg_dir {
        make_directory(dir).with_context(|| format!("--svg-dir {}", dir.display()))?;
    }
    Ok(())
}

fn make_directory(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).context("cannot make the directory")?;
    drop(tempfile::NamedTempFile::new_in(dir).context("cannot write into the directory")?);
    Ok(())
}
