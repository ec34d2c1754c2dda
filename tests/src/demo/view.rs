//! Shows the demo: live bars on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::scene::{HostScene, Scene, Tally};

/// Plain lines tell the countdown this often, in blocks.
const COUNTDOWN_EVERY: u64 = 5;

/// Where the demo is shown.
pub struct View {
    /// Standard error when standard output is for the JSON object.
    to_stderr: bool,
    bars: Option<Bars>,
    shown: Scene,
}

struct Bars {
    all: MultiProgress,
    tally: ProgressBar,
    countdown: ProgressBar,
    hosts: Vec<ProgressBar>,
}

impl View {
    /// A view on standard output, or on standard error when `to_stderr`.
    #[must_use]
    pub fn new(to_stderr: bool) -> Self {
        let terminal = if to_stderr {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        let target = if to_stderr {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::stdout()
        };
        Self {
            to_stderr,
            bars: terminal.then(|| Bars::new(target)),
            shown: Scene::default(),
        }
    }

    /// Writes one line.
    pub fn line(&mut self, text: &str) {
        match &self.bars {
            // A closed terminal ends the demo by its signal; there is nobody left to tell.
            Some(bars) => drop(bars.all.println(text)),
            None => self.plain(text),
        }
    }

    /// Shows what has changed since the last scene.
    pub(crate) fn show(&mut self, scene: Scene) {
        if scene == self.shown {
            return;
        }
        if let Some(bars) = &mut self.bars {
            bars.show(&scene);
        } else {
            for line in news(&self.shown, &scene) {
                self.plain(&line);
            }
        }
        self.shown = scene;
    }

    /// Removes the bars, so that the summary stands alone.
    pub fn finish(&mut self) {
        if let Some(bars) = self.bars.take() {
            drop(bars.all.clear());
        }
    }

    fn plain(&self, text: &str) {
        let written = if self.to_stderr {
            writeln!(io::stderr(), "{text}")
        } else {
            writeln!(io::stdout(), "{text}")
        };
        // Nobody reads any more; the demo goes on and its exit code tells.
        drop(written);
    }
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let tally = all.add(bar("  approvals  [{bar:30}] {msg}"));
        let countdown = all.add(bar("  blocks     [{bar:30}] {msg}"));
        Self {
            all,
            tally,
            countdown,
            hosts: Vec::new(),
        }
    }

    fn show(&mut self, scene: &Scene) {
        if let Some(tally) = &scene.tally {
            self.tally.set_length(tally.total);
            self.tally.set_position(tally.approving);
            self.tally.set_message(tally_words(tally));
        }
        if scene.upgrade_height > 0 {
            self.countdown.set_length(scene.upgrade_height);
            self.countdown
                .set_position(scene.height.min(scene.upgrade_height));
            self.countdown.set_message(countdown_words(scene));
        }
        while self.hosts.len() < scene.hosts.len() {
            self.hosts.push(self.all.add(bar("  {msg}")));
        }
        for (bar, host) in self.hosts.iter().zip(&scene.hosts) {
            bar.set_message(host_words(host));
        }
    }
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1).with_style(style.progress_chars("=> "))
}

fn tally_words(tally: &Tally) -> String {
    format!(
        "{} of {} approve, more than 2/3 is {} or more: {}",
        tally.approving,
        tally.total,
        tally.needed(),
        tally.phase.to_lowercase().replace('_', " ")
    )
}

fn countdown_words(scene: &Scene) -> String {
    match scene.upgrade_height.checked_sub(scene.height) {
        Some(0) => format!("height {} reached", scene.upgrade_height),
        Some(left) => format!("height {}, {left} to {}", scene.height, scene.upgrade_height),
        None => format!(
            "height {}, {} past {}",
            scene.height,
            scene.height - scene.upgrade_height,
            scene.upgrade_height
        ),
    }
}

fn host_words(host: &HostScene) -> String {
    format!(
        "{:<9} {:<13} {:<7} height {}",
        host.name, host.phase, host.version, host.height
    )
}

/// The lines that tell the difference between two scenes.
fn news(old: &Scene, new: &Scene) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(tally) = new.tally.as_ref().filter(|_| new.tally != old.tally) {
        lines.push(format!("  tally      {}", tally_words(tally)));
    }
    let crossed = new.upgrade_height > 0
        && (old.height / COUNTDOWN_EVERY != new.height / COUNTDOWN_EVERY
            || (old.height < new.upgrade_height && new.height >= new.upgrade_height));
    if crossed {
        lines.push(format!("  blocks     {}", countdown_words(new)));
    }
    for (index, host) in new.hosts.iter().enumerate() {
        let before = old.hosts.get(index);
        if before.is_none_or(|before| before.phase != host.phase || before.version != host.version) {
            lines.push(format!("  {}", host_words(host)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{HostScene, Scene, Tally, news};

    fn scene(height: u64, phase: &'static str, approving: u64) -> Scene {
        Scene {
            height,
            upgrade_height: 30,
            tally: Some(Tally {
                approving,
                total: 4,
                phase: "VOTING".to_owned(),
            }),
            hosts: vec![HostScene {
                name: "host-0".to_owned(),
                phase,
                version: "1.0.0".to_owned(),
                height,
            }],
        }
    }

    #[test]
    fn plain_lines_tell_only_what_changed() {
        assert_eq!(
            news(&scene(11, "running", 1), &scene(12, "running", 1)),
            Vec::<String>::new()
        );
        assert_eq!(
            news(&scene(12, "running", 1), &scene(12, "staged", 2)),
            [
                "  tally      2 of 4 approve, more than 2/3 is 3 or more: voting",
                "  host-0    staged        1.0.0   height 12"
            ]
        );
    }

    #[test]
    fn plain_lines_count_down_and_name_the_height() {
        assert_eq!(
            news(&scene(14, "staged", 3), &scene(15, "staged", 3)),
            ["  blocks     height 15, 15 to 30"]
        );
        assert_eq!(
            news(&scene(29, "staged", 3), &scene(30, "staged", 3)),
            ["  blocks     height 30 reached"]
        );
        assert_eq!(
            news(&scene(34, "staged", 3), &scene(35, "staged", 3)),
            ["  blocks     height 35, 5 past 30"]
        );
    }
}
