//! A long conversation: does the cache drift?

use super::{Block, Maker, Section, cache, heading};
use crate::commands::report::charts::axis::{Axis, Scale, Unit, nats, number};
use crate::commands::report::charts::line::{LineChart, Point, Reference, Series};
use crate::commands::report::html::{Cell, Table, Tone};
use crate::commands::report::plural;
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::{Session, SessionCache};

/// The turn behind which drift counts.
const WATCHED: f64 = 30.0;

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Session(session) = &source.results {
            blocks.push(heading(source));
            add(session, maker, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "session",
        title: "Long session".into(),
        how: "One conversation of many turns with each cache; some turns ask for a fact from an earlier one. A cache that holds has \
              a divergence that does not grow with the turns, above all not after turn 30, and recalls what f16 recalls.",
        blocks,
    })
}

fn add(session: &Session, maker: &mut Maker, blocks: &mut Vec<Block>) {
    match divergence(session, maker) {
        Some(figure) => blocks.push(figure),
        None => blocks.push(Block::LeftOut(
            "divergence by turn; the record has none above 0.".into(),
        )),
    }
    let rows = &session.caches;
    if rows.is_empty() {
        return;
    }
    let mean = |cache: &SessionCache, late: bool| {
        let values: Vec<f64> = cache
            .turns
            .iter()
            .filter(|turn| turn.turn.is_some_and(|turn| (turn > WATCHED) == late))
            .filter_map(|turn| turn.kl.map(|kl| kl.estimate))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Cell::number((!values.is_empty()).then_some(mean), nats)
    };
    let recalled = |cache: &SessionCache, late: bool| {
        let turns = cache
            .turns
            .iter()
            .filter(|turn| turn.turn.is_some_and(|turn| (turn > WATCHED) == late));
        let (found, asked) = turns
            .filter_map(|turn| turn.recalled.map(|share| (share, turn.asked.unwrap_or(1.0))))
            .fold((0.0, 0.0), |sums, (share, asked)| {
                (sums.0 + share * asked, sums.1 + asked)
            });
        if asked == 0.0 {
            return Cell::Missing;
        }
        Cell::Number(format!("{found:.0}/{asked:.0}"))
    };
    let last = |cache: &SessionCache| cache.turns.iter().filter_map(|turn| turn.turn).reduce(f64::max);
    let names = || rows.iter().map(|row| Cell::text(cache(row.cache.as_ref())));
    blocks.push(Block::Table(
        Table::new("Mean divergence (nats) and recall, before and after turn 30")
            .column("cache", names())
            .column("turns", rows.iter().map(|row| Cell::number(last(row), number)))
            .column("KL to turn 30", rows.iter().map(|row| mean(row, false)))
            .column("KL after", rows.iter().map(|row| mean(row, true)))
            .column("recalled to turn 30", rows.iter().map(|row| recalled(row, false)))
            .column("recalled after", rows.iter().map(|row| recalled(row, true))),
    ));
    blocks.push(by_turn(session));
}

fn divergence(session: &Session, maker: &mut Maker) -> Option<Block> {
    let mut series = Vec::new();
    for row in &session.caches {
        let name = cache(row.cache.as_ref());
        let points = row.turns.iter().filter_map(|turn| {
            let (x, kl) = turn.turn.zip(turn.kl)?;
            Some(Point {
                x,
                y: kl.estimate,
                spread: kl.bounds,
                computed: false,
            })
        });
        let mut points: Vec<Point> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        // the base against itself has no divergence to show
        if points.iter().any(|point| point.y > 0.0) {
            series.push(Series {
                style: maker.styles.of(&name),
                name,
                points,
            });
        }
    }
    let values = || series.iter().flat_map(|series| &series.points);
    let last = values().map(|point| point.x).reduce(f64::max)?;
    let high = values().map(|point| point.y).fold(0.0, f64::max);
    let low = values().map(|point| point.y).fold(f64::INFINITY, f64::min);
    let (scale, title) = if low > 0.0 && high / low > 30.0 {
        (Scale::log_around(low, high), "KL divergence, nats (log scale)")
    } else {
        (Scale::from_zero(high, Unit::Number), "KL divergence, nats")
    };
    let moments = if last > WATCHED {
        vec![Reference {
            at: WATCHED,
            name: "turn 30".into(),
        }]
    } else {
        vec![]
    };
    let chart = LineChart {
        description: "KL divergence by turn of the conversation; the table below has the means".into(),
        x: Axis::new(
            Scale::Linear {
                low: 0.0,
                high: last.max(1.0),
            },
            Unit::Count,
            "turn",
        ),
        y: Axis::new(scale, Unit::Number, title),
        series,
        levels: vec![],
        moments,
        signs_up_to: 60,
    };
    Some(maker.figure("session-drift", "Divergence by turn", chart))
}

/// The recall questions that not every cache answered in all conversations; how many others there are.
fn by_turn(session: &Session) -> Block {
    let asked = super::distinct(
        session
            .caches
            .iter()
            .flat_map(|row| &row.turns)
            .filter(|turn| turn.recalled.is_some())
            .filter_map(|turn| turn.turn),
    );
    if asked.is_empty() {
        return Block::LeftOut("recall by turn; the record has no recall questions.".into());
    }
    let recalled = |row: &SessionCache, asked: f64| {
        let turn = row.turns.iter().find(|turn| turn.turn == Some(asked));
        turn.and_then(|turn| turn.recalled)
    };
    let (whole, partly): (Vec<f64>, Vec<f64>) = asked.iter().partition(|asked| {
        let mut caches = session.caches.iter();
        caches.all(|row| recalled(row, **asked) == Some(1.0))
    });
    if partly.is_empty() {
        return Block::Text(format!(
            "Every cache recalled everything, at all {} turns that ask.",
            whole.len()
        ));
    }
    let title = match whole.len() {
        0 => "Recall by turn".to_owned(),
        others => format!(
            "Recall by turn, where not everything was recalled; at {others} other {} every cache recalled everything",
            plural(others, "turn")
        ),
    };
    let mut table = Table::new(title).column("turn", partly.iter().map(|turn| Cell::text(number(*turn))));
    for row in &session.caches {
        let cells = partly.iter().map(|asked| match recalled(row, *asked) {
            Some(1.0) => Cell::Badge(Tone::Good, "recalled".into()),
            Some(0.0) => Cell::Badge(Tone::Bad, "forgotten".into()),
            Some(share) => Cell::Badge(Tone::Bad, format!("{:.0} %", 100.0 * share)),
            None => Cell::Missing,
        });
        table = table.column(cache(row.cache.as_ref()), cells);
    }
    Block::Table(table)
}
