//! Figures, with the goals that they have, as a table and as JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    goal: Option<Goal>,
}

impl Figure {
    fn is_ok(&self) -> bool {
        match self.goal {
            None => true,
            Some(Goal::AtMost(most)) => self.value <= most,
            Some(Goal::AtLeast(least)) => self.value >= least,
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure and prints it.
    pub fn add(&mut self, name: impl Into<String>, value: f64, goal: impl Into<Option<Goal>>) {
        let figure = Figure { name: name.into(), value, goal: goal.into() };
        let goal = match figure.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => format!("at most {}", short(most)),
            Some(Goal::AtLeast(least)) => format!("at least {}", short(least)),
        };
        let missed = if figure.is_ok() { "" } else { "  MISSED" };
        println!("{:<76} {:>10}  {goal}{missed}", figure.name, short(figure.value));
        self.figures.push(figure);
    }

    /// Writes an array of `{name, value, goal, ok}`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let goal = |goal| match goal {
            Goal::AtMost(most) => format!("<= {most}"),
            Goal::AtLeast(least) => format!(">= {least}"),
        };
        let figures = self.figures.iter().map(
            |figure| json!({"name": figure.name, "value": figure.value, "goal": figure.goal.map(goal), "ok": figure.is_ok()}),
        );
        fs::write(path, Value::from(figures.collect::<Vec<_>>()).to_string() + "\n")
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| !figure.is_ok()).count()
    }
}

/// Three digits are enough.
fn short(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
