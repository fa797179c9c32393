//! The steps from power-on to a probe that measures: their names, their order, and how each stands. The console and the LED name them.

/// The steps, in order. The LED blinks as often as the number of the first that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `name` says what they are.
pub enum StepName {
    Watchdog = 1,
    Modules,
    Boot,
    Settings,
    State,
    Link,
    Address,
    Resolver,
    Filter,
    Probe,
    Collector,
    Clock,
}

impl StepName {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Watchdog,
        Self::Modules,
        Self::Boot,
        Self::Settings,
        Self::State,
        Self::Link,
        Self::Address,
        Self::Resolver,
        Self::Filter,
        Self::Probe,
        Self::Collector,
        Self::Clock,
    ];

    /// The word on the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watchdog => "watchdog",
            Self::Modules => "modules",
            Self::Boot => "boot",
            Self::Settings => "settings",
            Self::State => "state",
            Self::Link => "link",
            Self::Address => "address",
            Self::Resolver => "resolver",
            Self::Filter => "filter",
            Self::Probe => "probe",
            Self::Collector => "collector",
            Self::Clock => "clock",
        }
    }

    /// What the LED blinks, from 1.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// How a step stands, in words for the console: what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Under way; what for.
    Waiting(String),
    /// It works; how.
    Ok(String),
    /// It does not; what is wrong and what to do.
    Failed(String),
}

impl Step {
    /// Its words.
    pub fn text(&self) -> &str {
        match self {
            Self::Waiting(text) | Self::Ok(text) | Self::Failed(text) => text,
        }
    }

    /// Does it work?
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}
