//! Whether the loop takes its turns. The loop itself answers and nothing beside it can: a loop that hangs looks like one.
//!
//! Nothing happens here by itself: without a question and without a watchdog the loop is never woken.

use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::service_manager::Watchdog;

/// Questions that may wait; more means that the loop does not answer anyway.
const QUESTIONS: usize = 16;

/// The loop's half: awaited in its `select!`.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    questions: mpsc::Receiver<oneshot::Sender<()>>,
    watchdog: Watchdog,
}

/// The half of those who want to know.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    questions: mpsc::Sender<oneshot::Sender<()>>,
    patience: Duration,
}

/// Why a loop does not count as alive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPulse {
    /// It is stuck in something.
    #[error("visor's loop has not answered within {} ms", patience.as_millis())]
    Silent {
        /// How long was waited.
        patience: Duration,
    },
    /// It has ended.
    #[error("visor is ending")]
    Ended,
}

/// Both halves. Whoever asks waits for `patience`.
pub(crate) fn heartbeat(watchdog: Watchdog, patience: Duration) -> (Pulse, Heartbeat) {
    let (asked, questions) = mpsc::channel(QUESTIONS);
    let pulse = Pulse {
        questions: asked,
        patience,
    };
    (pulse, Heartbeat { questions, watchdog })
}

impl Heartbeat {
    /// Answers the next question, or pets the watchdog when that is due. May be cancelled at any time.
    pub(crate) async fn beat(&mut self) {
        let question = async {
            match self.questions.recv().await {
                Some(question) => question,
                // Nobody can ask any more.
                None => pending().await,
            }
        };
        tokio::select! {
            // Who asked may have given up.
            question = question => drop(question.send(())),
            () = self.watchdog.due() => self.watchdog.pet(),
        }
    }
}

impl Pulse {
    /// Waits for the loop's next turn.
    pub(crate) async fn feel(&self) -> Result<(), NoPulse> {
        let turn = async {
            let (question, answer) = oneshot::channel();
            self.questions.send(question).await.map_err(|_| NoPulse::Ended)?;
            answer.await.map_err(|_| NoPulse::Ended)
        };
        let patience = self.patience;
        timeout(patience, turn)
            .await
            .map_err(|_| NoPulse::Silent { patience })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_loop_that_takes_its_turns_has_a_pulse() {
        let (pulse, mut heartbeat) = heartbeat(Watchdog::off(), Duration::from_secs(30));
        let (felt, ()) = tokio::join!(pulse.feel(), heartbeat.beat());
        assert!(felt.is_ok());
        let hurried = Pulse {
            patience: Duration::from_millis(20),
            ..pulse.clone()
        };
        for _ in 0..2 * QUESTIONS {
            assert!(matches!(hurried.feel().await, Err(NoPulse::Silent { .. })));
        }
        // It wakes up and answers those who have gone, then those who wait.
        let turns = async {
            loop {
                heartbeat.beat().await;
            }
        };
        tokio::select! {
            felt = pulse.feel() => assert!(felt.is_ok()),
            () = turns => {}
        }
        drop(heartbeat);
        assert!(matches!(pulse.feel().await, Err(NoPulse::Ended)));
    }
}
