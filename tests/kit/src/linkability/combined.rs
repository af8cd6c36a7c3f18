//! All passive attacks together: logistic regression over their numbers, learnt on other runs than it is tried on.

use super::passive::{Numbers, Row};
use super::score::Trial;

const STEPS: usize = 300;
const RATE: f64 = 1.0;
/// Keeps weights small where numbers say nothing.
const DECAY: f64 = 1e-3;

const NOTHING: Row = [0.0; size_of::<Row>() / size_of::<f64>()];

/// What was learnt: how each number is scaled, and what it weighs.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    means: Row,
    deviations: Row,
    weights: Row,
}

impl Model {
    /// Learns from runs whose owners are known.
    pub fn learn(runs: &[Numbers]) -> Self {
        let rows: Vec<(Row, f64)> = runs
            .iter()
            .flat_map(|run| {
                let same = |a: usize, b: usize| f64::from(u8::from(run.owners[a] == run.owners[b]));
                run.pairs.iter().map(move |(a, b, row)| (*row, same(*a, *b)))
            })
            .collect();
        let count = rows.len().max(1) as f64;
        let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(|(row, _)| of(row)).sum::<f64>() / count;
        let means: Row = std::array::from_fn(|at| mean(&|row| row[at]));
        let deviations: Row = std::array::from_fn(|at| mean(&|row| (row[at] - means[at]).powi(2)).sqrt().max(1e-9));
        let mut model = Self {
            means,
            deviations,
            weights: NOTHING,
        };
        let share = rows.iter().map(|(_, same)| same).sum::<f64>() / count;
        let base = (share.max(1e-9) / (1.0 - share).max(1e-9)).ln();
        let scaled: Vec<(Row, f64)> = rows.iter().map(|(row, same)| (model.scale(row), *same)).collect();
        for _ in 0..STEPS {
            let mut gradient = NOTHING;
            for (row, same) in &scaled {
                let logit: f64 = base + row.iter().zip(&model.weights).map(|(x, w)| x * w).sum::<f64>();
                let error = same - 1.0 / (1.0 + (-logit).exp());
                gradient.iter_mut().zip(row).for_each(|(sum, x)| *sum += error * x);
            }
            for (weight, sum) in model.weights.iter_mut().zip(gradient) {
                *weight += RATE * (sum / count - DECAY * *weight);
            }
        }
        model
    }

    fn scale(&self, row: &Row) -> Row {
        std::array::from_fn(|at| (row[at] - self.means[at]) / self.deviations[at])
    }

    /// Makes the riddles of a run that it knows nothing of.
    pub fn trial(&self, run: &Numbers) -> Trial {
        run.trial(|row| self.scale(row).iter().zip(&self.weights).map(|(x, w)| x * w).sum())
    }
}
