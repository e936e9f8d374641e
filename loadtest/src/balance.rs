//! Is the load spread evenly, and what kind of dispatch does it look like? The
//! figures in words.

use shared_balance_stats::{Balance, Dispatch};

/// One sentence on evenness and one on the dispatch; `what` is what was
/// counted, in the plural.
pub fn sentence(balance: &Balance, names: &[String], counts: &[u64], what: &str) -> String {
    if balance.workers == 1 {
        return format!("All {what} went to one worker ({}).", names[0]);
    }
    let share = |count: u64| 100.0 * count as f64 / balance.total as f64;
    let even = 100.0 / balance.workers as f64;
    let far = |&index: &usize| (counts[index] as f64 - balance.expected).abs();
    let furthest = (0..counts.len()).max_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or_default();
    let evenness = if balance.dispatch == Dispatch::TooFew {
        format!("{} {what} over {} workers are too few to judge the balance.", balance.total, balance.workers)
    } else if balance.even {
        let (least, most) = (counts.iter().min(), counts.iter().max());
        let (least, most) = (least.map_or(0.0, |&n| share(n)), most.map_or(0.0, |&n| share(n)));
        format!(
            "Well balanced: every worker has {least:.1} % to {most:.1} % of the {what} (even: {even:.1} %)."
        )
    } else {
        format!(
            "Not balanced: worker {} has {:.1} % of the {what}, where {even:.1} % would be even.",
            names[furthest],
            share(counts[furthest])
        )
    };
    let chi = format!("χ² = {:.2}, p {}", balance.chi_square, p_text(balance.p_value));
    let dispatch = match balance.dispatch {
        Dispatch::RoundRobinLike => {
            format!(" Dispatch looks like round-robin: more even than chance ({chi}).")
        }
        Dispatch::RandomLike => format!(" Dispatch looks random, with equal chances ({chi})."),
        Dispatch::Skewed => format!(" Dispatch is skewed: less even than chance ({chi})."),
        Dispatch::TooFew | Dispatch::Single => String::new(),
    };
    evenness + &dispatch
}

/// `= 0.042`, `< 0.001`, `> 0.999`.
pub fn p_text(p: f64) -> String {
    match p {
        _ if p < 0.001 => "< 0.001".to_owned(),
        _ if p > 0.999 => "> 0.999".to_owned(),
        _ => format!("= {p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_who_and_how_much() {
        let told = |counts: &[u64]| {
            let names = ["1", "2", "3", "4"].map(str::to_owned);
            sentence(&Balance::of(counts).unwrap(), &names, counts, "requests")
        };
        let even = told(&[25, 25, 25, 25]);
        assert!(even.starts_with("Well balanced: every worker has 25.0 % to 25.0 %"), "{even}");
        assert!(even.contains("like round-robin"), "{even}");
        let skewed = told(&[100, 100, 100, 700]);
        assert!(skewed.contains("worker 4 has 70.0 %") && skewed.contains("p < 0.001"), "{skewed}");
        assert!(told(&[9]).contains("one worker (1)"));
    }
}
