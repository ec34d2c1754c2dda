//! The main job in one command: a real network, proposed to, voted on, upgraded by its visors, watched from outside.

mod options;
mod scene;
mod story;
mod summary;
mod view;

pub use options::DemoOptions;
pub use story::run;
pub use summary::{HostSummary, Outcome, Summary};
pub use view::View;
