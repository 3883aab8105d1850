//! Tasks that pass the log on, each with settings of its own: begun, ended and begun again as the configuration says.
//!
//! One whose settings stay as they are is left alone by a reload, with everything it is in the midst of.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running tasks of one kind, by name.
#[derive(Debug)]
pub struct Outlets<S> {
    running: BTreeMap<String, Outlet<S>>,
}

#[derive(Debug)]
struct Outlet<S> {
    settings: S,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl<S> Default for Outlets<S> {
    fn default() -> Self {
        Self { running: BTreeMap::new() }
    }
}

impl<S: Clone + PartialEq> Outlets<S> {
    /// Ends what is not wanted any more, then begins what is wanted and does not run. `begin` gets the name, the
    /// settings and the signal to stop.
    pub async fn want(
        &mut self,
        wanted: &BTreeMap<String, S>,
        mut begin: impl FnMut(&str, &S, watch::Receiver<bool>) -> JoinHandle<()>,
    ) {
        let differs = |name: &String, outlet: &mut Outlet<S>| wanted.get(name) != Some(&outlet.settings);
        let ended: Vec<_> = self.running.extract_if(.., differs).map(|(_, outlet)| outlet).collect();
        end(ended).await;
        for (name, settings) in wanted {
            if !self.running.contains_key(name) {
                let (stop, stopped) = watch::channel(false);
                let task = begin(name, settings, stopped);
                self.running.insert(name.clone(), Outlet { settings: settings.clone(), stop, task });
            }
        }
    }

    /// Ends all of them; each has come to its end when this resolves.
    pub async fn end(&mut self) {
        end(std::mem::take(&mut self.running).into_values().collect()).await;
    }

    /// As a power cut would end them.
    pub async fn cut(self) {
        for outlet in self.running.into_values() {
            outlet.task.abort();
            let _ = outlet.task.await;
        }
    }

    /// Tasks that never end by themselves, for whoever watches that they do not.
    pub fn tasks(&mut self) -> impl Iterator<Item = &mut JoinHandle<()>> {
        self.running.values_mut().map(|outlet| &mut outlet.task)
    }
}

async fn end<S>(outlets: Vec<Outlet<S>>) {
    for outlet in &outlets {
        outlet.stop.send_replace(true);
    }
    for outlet in outlets {
        let _ = outlet.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_changed_is_begun_anew() {
        let mut outlets = Outlets::default();
        let mut begun = Vec::new();
        for wanted in [vec![("a", 1), ("b", 1)], vec![("a", 1), ("b", 2), ("c", 1)], vec![("c", 1)]] {
            let wanted: BTreeMap<String, i32> = wanted.into_iter().map(|(name, s)| (name.to_owned(), s)).collect();
            outlets
                .want(&wanted, |name, settings, mut stop| {
                    begun.push(format!("{name}{settings}"));
                    tokio::spawn(async move { drop(stop.wait_for(|stop| *stop).await) })
                })
                .await;
        }
        assert_eq!(begun, ["a1", "b1", "b2", "c1"]);
        assert_eq!(outlets.tasks().count(), 1);
        outlets.end().await;
        assert_eq!(outlets.tasks().count(), 0);
    }
}
