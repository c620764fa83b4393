//! The page: head, style, contents, warnings, sections. No script, no request: the policy in its head forbids both.

use super::charts::{NARROW, WIDE, style};
use super::html::{Tone, badge, escape};
use super::read::Source;
use super::sections::{Block, Figure, Section};
use std::fmt::Write;

const CSS: &str = "
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,
'Helvetica Neue',Arial,sans-serif}
main,header,footer{max-width:892px;margin:0 auto;padding:0 16px}
h1{font-size:1.6rem;line-height:1.25;margin:2rem 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:3rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1.0625rem;margin:1.75rem 0 .5rem;overflow-wrap:anywhere}
p,ul{margin:.5rem 0;max-width:44rem}p{overflow-wrap:anywhere}.soft,.how,footer{color:var(--soft)}
.how{font-size:.9rem}.left{font-size:.9rem;color:var(--soft);border-left:3px solid var(--rule);padding-left:.6rem}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;max-width:none}a{color:var(--k1)}
figure{margin:1rem 0 1.25rem}figcaption{font-weight:600;font-size:.9375rem;color:var(--ink);margin-bottom:.35rem}
.chart{display:block;width:100%;height:auto}.wide{max-width:860px}.narrow{display:none;max-width:520px}
@media(max-width:719px){.wide{display:none}.narrow{display:block}}
.bleed{margin:.75rem 0 1rem}.table{border:1px solid var(--rule);border-radius:6px;background:var(--card);overflow:hidden}
.scroll{overflow-x:auto;background:linear-gradient(to right,var(--card) 40%,transparent) 0 0/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--card) 40%,transparent) 100% 0/2.5rem 100% no-repeat local,
linear-gradient(to right,var(--edge),transparent) 0 0/.75rem 100% no-repeat scroll,
linear-gradient(to left,var(--edge),transparent) 100% 0/.75rem 100% no-repeat scroll}
@media(min-width:960px){.bleed{display:flex;justify-content:center;margin-inline:calc(50% - 50vw + 32px)}
.table{min-width:860px;max-width:min(100%,1376px)}}
table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.35}
.caption{margin:0;width:0;min-width:100%;padding:.5rem .6rem;color:var(--soft);font-size:.8125rem;line-height:1.35}
th,td{padding:.35rem .6rem;text-align:left;vertical-align:top;border-top:1px solid var(--rule);white-space:nowrap}
.long{white-space:normal;min-width:15rem;max-width:26rem;overflow-wrap:anywhere}
thead th{font-weight:600;vertical-align:bottom;border-top:0;color:var(--soft);white-space:normal}tbody th{font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:normal}.n span{white-space:nowrap}td.none{color:var(--soft)}
.note td{border-top:0;padding-top:0}.note p{margin:0;max-width:48rem;color:var(--soft);font-size:.8125rem;white-space:normal}
.noted>*{padding-bottom:.1rem}
@media(max-width:719px){.long{min-width:9rem}td:nth-child(2):last-child{white-space:normal}td.n{white-space:nowrap}
table:not(.cards) tr>:first-child{position:sticky;left:0;z-index:1;background:var(--card);box-shadow:1px 0 var(--rule)}
.cards,.cards tbody,.cards tr,.cards td,.cards tbody th{display:block}.cards thead{display:none}
.cards tr{border-top:1px solid var(--rule);padding:.4rem 0}.cards .note{border-top:0;padding-top:0}.cards .noted{padding-bottom:0}
.cards td[data-label]{display:inline-block}
.cards td,.cards tbody th{border-top:0;padding:.1rem .6rem;text-align:left;white-space:normal;max-width:none;overflow-wrap:anywhere}
.cards [data-label].none{display:none}.cards [data-label]::before{content:attr(data-label) \": \";color:var(--soft)}}
.badge{display:inline-block;white-space:nowrap;border-radius:4px;padding:0 .45em;font-weight:600;font-size:.8125rem;line-height:1.5}
.good{color:var(--good);background:var(--good-b)}.bad{color:var(--bad);background:var(--bad-b)}
.warn{color:var(--warn);background:var(--warn-b)}.badge.none{color:var(--soft);background:var(--none-b)}
.banner{border:1px solid var(--warn);border-radius:6px;background:var(--warn-b);padding:.5rem .9rem;margin:1rem 0}
.banner ul{padding-left:1.2rem;max-width:none}.banner li{overflow-wrap:anywhere}
details{margin:.4rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--faint);border-radius:6px;padding:.6rem .8rem;font-size:.8125rem;
max-height:24rem;overflow-y:auto}
footer{margin-top:3rem;padding-top:1rem;padding-bottom:2rem;font-size:.85rem}
@media print{.bleed{display:block;margin-inline:0}.scroll{overflow:visible}a{color:inherit}figure,tr{break-inside:avoid}}
";

/// The whole file.
pub fn page(title: &str, sources: &[Source], sections: &[Section]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{}{}{CSS}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n",
        style::VARIABLES,
        style::CSS,
        title = escape(title)
    );
    // writing to a string cannot fail
    let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(&subtitle(sources)));
    html.push_str("<nav aria-label=\"Contents\"><ul>");
    for section in sections {
        let _ = write!(
            html,
            "<li><a href=\"#{}\">{}</a></li>",
            section.id,
            escape(&section.title)
        );
    }
    html.push_str("</ul></nav>\n");
    html.push_str(&banner(sources));
    html.push_str("</header>\n<main>\n");
    for section in sections {
        let _ = writeln!(
            html,
            "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"how\">{}</p>",
            section.id,
            escape(&section.title),
            escape(section.how)
        );
        for block in &section.blocks {
            html.push_str(&draw(block));
        }
        html.push_str("</section>\n");
    }
    let _ = write!(
        html,
        "</main>\n<footer>Made by turboquant {} from {}. Numbers that do not exist are left out, never 0.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(
            &sources
                .iter()
                .map(|source| source.file.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )
    );
    html
}

/// Which models, from when to when.
fn subtitle(sources: &[Source]) -> String {
    let mut models: Vec<String> = Vec::new();
    let mut dates: Vec<String> = Vec::new();
    for source in sources {
        for model in source.model().into_iter().chain(super::sections::speed::models(source)) {
            if !models
                .iter()
                .any(|known| known.starts_with(&model) || model.starts_with(known.as_str()))
            {
                models.push(model);
            }
        }
        let date = source
            .record
            .date
            .clone()
            .or_else(|| super::sections::speed::date(source));
        dates.extend(date.map(|date| date.chars().take(10).collect()));
    }
    dates.sort();
    let dates = match (dates.first(), dates.last()) {
        (Some(first), Some(last)) if first == last => first.clone(),
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "date not recorded".into(),
    };
    let models = if models.is_empty() {
        "model not recorded".into()
    } else {
        models.join("; ")
    };
    format!("{models} · {dates}")
}

/// What the reader must know before the numbers.
fn banner(sources: &[Source]) -> String {
    let mut lines = Vec::new();
    for source in sources {
        let kind = source.record.kind.as_deref().unwrap_or("record");
        if source.is_incomplete() {
            lines.push(format!(
                "{} {} ({kind}): the measurement was stopped. What is shown of it was measured, but it is not all that was asked for.",
                badge(Tone::Warn, "incomplete"),
                escape(&source.file)
            ));
        }
        for warning in &source.record.warnings {
            lines.push(format!("{} ({kind}): {}", escape(&source.file), escape(warning)));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines
        .iter()
        .fold(String::new(), |all, line| all + "<li>" + line + "</li>\n");
    format!(
        "<div class=\"banner\" role=\"note\"><strong>Before you trust these numbers</strong>\n<ul>{items}</ul></div>\n"
    )
}

fn draw(block: &Block) -> String {
    match block {
        Block::Heading(text, badges) => {
            let badges: String = badges
                .iter()
                .map(|(tone, text)| format!(" {}", badge(*tone, text)))
                .collect();
            format!("<h3>{}{badges}</h3>\n", escape(text))
        }
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::LeftOut(text) => format!("<p class=\"left\">Not shown: {}</p>\n", escape(text)),
        Block::Table(table) => table.html(),
        Block::Figure(figure) => draw_figure(figure),
        Block::Details(summary, text) => format!(
            "<details><summary>{}</summary>\n<pre>{}</pre></details>\n",
            escape(summary),
            escape(text)
        ),
    }
}

/// Both drawings are in the page; the style shows the one that fits.
fn draw_figure(figure: &Figure) -> String {
    let (wide, narrow) = (figure.chart.draw(WIDE), figure.chart.draw(NARROW));
    let mut left_out = String::new();
    for (canvas, class) in [(&wide, "wide"), (&narrow, "narrow")] {
        if !canvas.left_out.is_empty() {
            let names = escape(&canvas.left_out.join(", "));
            left_out +=
                &format!("<p class=\"left {class}\">No room for the names of: {names}. The table has them.</p>\n");
        }
    }
    format!(
        "<figure id=\"{}\">\n<figcaption>{}</figcaption>\n{}{}{left_out}</figure>\n",
        figure.slug,
        escape(&figure.title),
        wide.inline("wide"),
        narrow.inline("narrow")
    )
}
