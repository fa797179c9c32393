//! Passes on what a board's system and the collector say to each other about updates, and understands none of it.

use sonde_protocol::board::FromSystem;

use super::Agent;

impl Agent {
    /// Tells the system whether the collector can be asked, and each collector anew how the board stands.
    pub(super) fn tell_board(&mut self) {
        let open = self.session.is_open();
        if self.board.connected(open)
            && let Some(state) = self.board.state().cloned()
        {
            self.session.board_changed(state);
        }
    }

    /// The system has said something.
    pub(super) fn board_says(&mut self, said: FromSystem) {
        match said {
            FromSystem::Ask(ask) => self.session.ask_for_update(ask),
            FromSystem::State(state) => self.session.board_changed(state),
        }
    }
}
