//! The faults of a long run, their order and their length: random, from a seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::faults::{Fault, Trouble};

/// The node that is never killed, so that its memory can be watched.
pub(crate) const SPARED: usize = 1;
/// The other node.
const OTHER: usize = 0;

/// One trial of many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trial {
    /// The time without a fault before the trial.
    pub(crate) calm: Duration,
    pub(crate) faults: Vec<Fault>,
    pub(crate) hold: Duration,
}

/// An endless series of trials: every fault once, then every fault once in another order, and so on. Every third trial
/// has two faults at once.
#[derive(Debug)]
pub(crate) struct Course {
    random: StdRng,
    deck: Vec<(Fault, u64)>,
    drawn: usize,
}

impl Course {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            deck: Vec::new(),
            drawn: 0,
        }
    }

    fn draw(&mut self) -> (Fault, u64) {
        if self.deck.is_empty() {
            self.deck = all();
            self.deck.shuffle(&mut self.random);
        }
        self.deck.pop().unwrap()
    }

    /// Chooses a fault that can come together with this one: on another way.
    fn companion(&mut self, of: Fault) -> Fault {
        let node = self.random.random_range(0..2);
        let trouble = Trouble::ALL[self.random.random_range(0..Trouble::ALL.len())];
        match of {
            Fault::BehindNode(node, _) => Fault::BeforeNode(1 - node, trouble),
            Fault::BeforeNode(..) => Fault::StepDown,
            _ => Fault::BeforeNode(node, trouble),
        }
    }
}

impl Iterator for Course {
    type Item = Trial;

    fn next(&mut self) -> Option<Trial> {
        let (fault, seconds) = self.draw();
        let mut faults = vec![fault];
        self.drawn += 1;
        if self.drawn.is_multiple_of(3) {
            let companion = self.companion(fault);
            faults.push(companion);
        }
        Some(Trial {
            calm: Duration::from_millis(self.random.random_range(1_000..4_000)),
            faults,
            hold: Duration::from_secs(seconds),
        })
    }
}

/// Lists every fault with the seconds for which it is held.
fn all() -> Vec<(Fault, u64)> {
    let mut all = vec![
        (Fault::StepDown, 0),
        (Fault::PrimaryKilled, 5),
        (Fault::PrimaryPaused, 15),
        (Fault::SecondaryKilled, 5),
        (Fault::MajorityLost, 30),
        (Fault::NodeKilled(OTHER), 2),
        (Fault::NodePaused(OTHER), 20),
        (Fault::NodePaused(SPARED), 20),
        (Fault::Hangups, 5),
        (Fault::SubscriptionsDropped, 1),
        (Fault::SubscriptionsRenamed, 1),
        (Fault::EventsDropped, 1),
        (Fault::KeysDropped, 1),
        (Fault::DatabaseDropped, 1),
    ];
    all.extend(Fault::CODES.map(|code| (Fault::Errors(code), 3)));
    for trouble in Trouble::ALL {
        // Long enough to miss a heartbeat.
        let seconds = match trouble {
            Trouble::Reset => 0,
            Trouble::HalfOpenNear | Trouble::HalfOpenFar => 60,
            _ => 15,
        };
        all.push((Fault::BehindNode(OTHER, trouble), seconds));
        all.push((Fault::BeforeNode(SPARED, trouble), seconds));
    }
    all
}
