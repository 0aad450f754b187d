//! A page of the console that is open for the whole run.

use std::sync::Arc;
use std::time::Duration;

use bastion_e2e::FeedPage;
use bastion_e2e::robustness::history::FeedChange;
use bastion_e2e::websocket::bearer;

use crate::environment::Environment;

/// How soon a page that was closed, or could not be opened, is opened again.
const OPENED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Records what the page shows, and opens it again whenever it is closed. Panics where a message is missing.
pub async fn read(environment: Arc<Environment>) {
    loop {
        let opened = FeedPage::try_open(environment.console_address, &[bearer(&environment.viewer)]).await;
        if let Ok(mut page) = opened {
            while page.try_next().await.is_ok() {
                let names = page.names().into_iter().map(str::to_owned).collect();
                environment.recorder.page(FeedChange::Shows(names));
                environment.recorder.page(FeedChange::Live(page.live));
            }
            environment.recorder.page(FeedChange::Live(false));
        }
        tokio::time::sleep(OPENED_AGAIN_AFTER).await;
    }
}
