//! The faults that can be injected into a world, and how each is undone.

mod data;
mod database;

use std::{fmt, time::Duration};

use anyhow::Result;

use super::{
    proxy::{Cut, Flow, Weather},
    record::Where,
    world::World,
};

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The primary is told to step down.
    StepDown,
    /// The primary is killed, and started again.
    PrimaryKilled,
    /// The primary is stopped (SIGSTOP), and goes on.
    PrimaryPaused,
    /// A secondary is killed, and started again.
    SecondaryKilled,
    /// Both secondaries are killed, and started again.
    MajorityLost,
    /// A node is killed, and started again.
    NodeKilled(usize),
    /// A node is stopped (SIGSTOP), and goes on.
    NodePaused(usize),
    /// A task of a node panics, upon which its process ends; it is started again.
    TaskPanics(usize, &'static str),
    /// Clients ask a node for large answers, and never read them.
    AnswersUnread(usize),
    /// The way between a node and all members of the database.
    BehindNode(usize, Trouble),
    /// The way between all clients and a node.
    BeforeNode(usize, Trouble),
    /// Every command of the service is answered with this error.
    Errors(i32),
    /// Every connection of the service is closed instead of an answer.
    Hangups,
    /// The collection of subscriptions is dropped.
    SubscriptionsDropped,
    /// The collection of subscriptions is renamed.
    SubscriptionsRenamed,
    /// The collection of events is dropped.
    EventsDropped,
    /// The collection of keys is dropped, and the operator's key stored again.
    KeysDropped,
    /// The database is dropped.
    DatabaseDropped,
}

/// A fault on a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// All connections are reset.
    Reset,
    /// All bytes take longer.
    Delay,
    /// Few bytes pass.
    Throttle,
    /// The nearer end (the one who dialled) hears nothing any more. The other got a reset.
    HalfOpenNear,
    /// The other way round.
    HalfOpenFar,
    /// Nothing passes either way.
    BlackHole,
    /// Nothing passes towards the one who was dialled.
    BlackHoleUp,
    /// No answers pass.
    BlackHoleDown,
}

impl Trouble {
    pub(crate) const ALL: [Self; 8] = [
        Self::Reset,
        Self::Delay,
        Self::Throttle,
        Self::HalfOpenNear,
        Self::HalfOpenFar,
        Self::BlackHole,
        Self::BlackHoleUp,
        Self::BlackHoleDown,
    ];

    const fn cut(self) -> Option<Cut> {
        match self {
            Self::Reset => Some(Cut::Both),
            Self::HalfOpenNear => Some(Cut::TargetOnly),
            Self::HalfOpenFar => Some(Cut::CallerOnly),
            _ => None,
        }
    }

    const fn weather(self) -> Weather {
        const FREE: Flow = Flow::Free;
        match self {
            Self::Delay => Weather::both(Flow::Delayed(Duration::from_millis(200))),
            Self::Throttle => Weather::both(Flow::Throttled(20_000)),
            Self::BlackHole => Weather::both(Flow::Held),
            Self::BlackHoleUp => Weather {
                up: Flow::Held,
                down: FREE,
            },
            Self::BlackHoleDown => Weather {
                up: FREE,
                down: Flow::Held,
            },
            Self::Reset | Self::HalfOpenNear | Self::HalfOpenFar => Weather::both(FREE),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "reset",
            Self::Delay => "delayed by 200 ms",
            Self::Throttle => "throttled to 20 kB/s",
            Self::HalfOpenNear => "half open, caller left",
            Self::HalfOpenFar => "half open, called left",
            Self::BlackHole => "black hole",
            Self::BlackHoleUp => "black hole upwards",
            Self::BlackHoleDown => "black hole downwards",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepDown => f.write_str("primary stepped down"),
            Self::PrimaryKilled => f.write_str("primary killed"),
            Self::PrimaryPaused => f.write_str("primary paused"),
            Self::SecondaryKilled => f.write_str("secondary killed"),
            Self::MajorityLost => f.write_str("majority lost"),
            Self::NodeKilled(_) => f.write_str("node killed"),
            Self::NodePaused(_) => f.write_str("node paused"),
            Self::TaskPanics(_, task) => write!(f, "a task panics: {task}"),
            Self::AnswersUnread(_) => f.write_str("answers unread"),
            Self::BehindNode(_, trouble) => write!(f, "node to database: {trouble}"),
            Self::BeforeNode(_, trouble) => write!(f, "clients to node: {trouble}"),
            Self::Errors(code) => write!(f, "every command fails with {code}"),
            Self::Hangups => f.write_str("every command is hung up on"),
            Self::SubscriptionsDropped => f.write_str("subscriptions dropped"),
            Self::SubscriptionsRenamed => f.write_str("subscriptions renamed away"),
            Self::EventsDropped => f.write_str("events dropped"),
            Self::KeysDropped => f.write_str("keys dropped"),
            Self::DatabaseDropped => f.write_str("database dropped"),
        }
    }
}

/// The way to undo a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Remedy {
    /// It is over already.
    Nothing,
    /// These members of the database are started again.
    Restart(Vec<usize>),
    /// This member goes on.
    Resume(usize),
    /// The fault itself says how.
    Undo,
}

impl Fault {
    /// The codes that the service must ride out, and those that have a meaning for it.
    pub(crate) const CODES: [i32; 10] = [280, 286, 11_600, 11_602, 13, 50, 91, 189, 10_107, 6];

    /// Returns the place where it strikes.
    pub(crate) const fn place(self) -> Where {
        match self {
            Self::StepDown
            | Self::PrimaryKilled
            | Self::PrimaryPaused
            | Self::SecondaryKilled
            | Self::MajorityLost
            | Self::AnswersUnread(_)
            | Self::BehindNode(..) => Where::Database,
            Self::NodeKilled(node) | Self::TaskPanics(node, _) => Where::Node(node),
            // Its clients may lose patience.
            Self::NodePaused(node) | Self::BeforeNode(node, _) => Where::Clients(node),
            Self::Errors(280 | 286) => Where::History,
            Self::Errors(_) | Self::Hangups => Where::Commands,
            Self::SubscriptionsDropped | Self::SubscriptionsRenamed | Self::EventsDropped => {
                Where::Data
            }
            Self::KeysDropped | Self::DatabaseDropped => Where::Keys,
        }
    }

    /// Whether it is over as soon as it has happened.
    pub(crate) const fn is_sudden(self) -> bool {
        matches!(
            self,
            Self::StepDown
                | Self::SubscriptionsDropped
                | Self::SubscriptionsRenamed
                | Self::EventsDropped
                | Self::KeysDropped
                | Self::DatabaseDropped
                | Self::BehindNode(_, Trouble::Reset)
                | Self::BeforeNode(_, Trouble::Reset)
        )
    }

    /// Injects the fault.
    pub(crate) async fn inject(self, world: &mut World) -> Result<Remedy> {
        match self {
            Self::StepDown => database::step_down(world).await,
            Self::PrimaryKilled => database::kill_primary(world).await,
            Self::PrimaryPaused => database::pause_primary(world).await,
            Self::SecondaryKilled => database::kill_secondaries(world, 1).await,
            Self::MajorityLost => database::kill_secondaries(world, 2).await,
            Self::Errors(code) => {
                let failure = bson::doc! {"errorCode": code};
                database::fail_commands(world, failure).await
            }
            Self::Hangups => {
                let failure = bson::doc! {"closeConnection": true};
                database::fail_commands(world, failure).await
            }
            Self::NodeKilled(node) => {
                world.nodes[node].kill().await?;
                Ok(Remedy::Undo)
            }
            Self::NodePaused(node) => {
                world.nodes[node].signal("STOP").await?;
                Ok(Remedy::Undo)
            }
            Self::TaskPanics(node, task) => {
                world.nodes[node].strike(task).await?;
                Ok(Remedy::Undo)
            }
            Self::AnswersUnread(node) => {
                world.unread.begin(&world.nodes[node]);
                Ok(Remedy::Undo)
            }
            Self::BehindNode(node, trouble) => {
                let node = &world.nodes[node];
                node.set_backs(trouble.weather());
                trouble
                    .cut()
                    .into_iter()
                    .for_each(|cut| node.cut_backs(cut));
                Ok(Remedy::Undo)
            }
            Self::BeforeNode(node, trouble) => {
                let front = &world.nodes[node].front;
                front.set(trouble.weather());
                trouble.cut().into_iter().for_each(|cut| front.cut(cut));
                Ok(Remedy::Undo)
            }
            Self::SubscriptionsDropped => data::drop_subscriptions(world).await,
            Self::SubscriptionsRenamed => data::rename_subscriptions(world).await,
            Self::EventsDropped => data::drop_events(world).await,
            Self::KeysDropped => data::drop_keys(world).await,
            Self::DatabaseDropped => data::drop_database(world).await,
        }
    }

    /// Undoes the fault.
    pub(crate) async fn heal(self, remedy: Remedy, world: &mut World) -> Result<()> {
        match (remedy, self) {
            (Remedy::Nothing, _) => {}
            (Remedy::Restart(members), _) => {
                for member in members {
                    world.cluster.restart(member).await?;
                }
            }
            (Remedy::Resume(member), _) => world.cluster.resume(member)?,
            (Remedy::Undo, Self::AnswersUnread(_)) => world.unread.all_cut().await?,
            (Remedy::Undo, Self::NodeKilled(node) | Self::TaskPanics(node, _)) => {
                world.nodes[node].launch()?;
            }
            (Remedy::Undo, Self::NodePaused(node)) => world.nodes[node].signal("CONT").await?,
            (Remedy::Undo, Self::BehindNode(node, _)) => {
                world.nodes[node].set_backs(Weather::default());
                world.nodes[node].cut_backs(Cut::HalfOpen);
            }
            (Remedy::Undo, Self::BeforeNode(node, _)) => {
                world.nodes[node].front.set(Weather::default());
                world.nodes[node].front.cut(Cut::HalfOpen);
            }
            (Remedy::Undo, _) => database::heal_commands(world).await?,
        }
        Ok(())
    }
}
