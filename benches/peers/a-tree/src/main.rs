//! The speed of `a-tree` on the exported inputs. See `README.md` one level up.

#[path = "../../../filter_index/clock.rs"]
mod clock;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use a_tree::{ATree, AttributeDefinition, Event};
use clock::Clock;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory?")?;
    let most = arguments
        .next()
        .map_or(Ok(usize::MAX), |most| most.parse())?;
    let filters = lines(&Path::new(&directory).join("filters.jsonl"))?;
    let events = lines(&Path::new(&directory).join("events.jsonl"))?;
    let mut tree = ATree::new(&[
        AttributeDefinition::string("type"),
        AttributeDefinition::string("account"),
        AttributeDefinition::integer("amount"),
    ])
    .map_err(|error| error.to_string())?;
    let start = Clock::start();
    for (key, filter) in filters.iter().take(most).enumerate() {
        tree.insert(&key, &expression(filter))
            .map_err(|error| error.to_string())?;
    }
    println!("inserted in {:.1} s", start.elapsed().as_secs_f64());
    let events: Vec<Event> = events
        .iter()
        .map(|each| event(&tree, each))
        .collect::<Result<_, _>>()?;
    measure(&tree, &events)
}

fn measure(tree: &ATree<usize>, events: &[Event]) -> Result<(), Box<dyn Error>> {
    let (mut done, mut matches) = (0_u32, 0);
    let start = Clock::start();
    for event in events {
        let report = tree.search(event).map_err(|error| error.to_string())?;
        if done < 1_000 {
            matches += report.matches().len();
        }
        done += 1;
        if done >= 1_000 && start.elapsed() > Duration::from_secs(10) {
            break;
        }
    }
    let rate = f64::from(done) / start.elapsed().as_secs_f64();
    println!("a-tree: {rate:.1} events/s, {matches} matches in the first thousand");
    Ok(())
}

fn lines(path: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

fn expression(filter: &Value) -> String {
    if let Some(branches) = filter["$or"].as_array() {
        let branches: Vec<_> = branches
            .iter()
            .map(|each| format!("({})", expression(each)))
            .collect();
        return branches.join(" or ");
    }
    let clauses = filter
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, value)| match value {
            Value::String(text) => format!("{field} = '{text}'"),
            Value::Object(range) => format!("{field} >= {}", range["$gte"]),
            number => format!("{field} = {number}"),
        });
    clauses.collect::<Vec<_>>().join(" and ")
}

fn event(tree: &ATree<usize>, event: &Value) -> Result<Event, Box<dyn Error>> {
    let mut builder = tree.make_event();
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    builder.with_string("type", text("type"))?;
    builder.with_string("account", text("account"))?;
    builder.with_integer("amount", event["amount"].as_i64().unwrap_or_default())?;
    Ok(builder.build()?)
}
