//! The machine of the run: its disk, its files, another run of the same profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use super::Fault;
use crate::experiment::Experiment;
use crate::instant::Fate;
use crate::world::kill;

/// How often a file system is asked to become read-only while killed processes may still have files open there.
const CLOSING: usize = 200;

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("the disk for bookmark, rejects and log is full", |e| {
        let Some(mount) = mounted(e) else { return };
        let full = mount.path.clone();
        e.arm_anywhere(move || {
            fill(&full);
            Fate::Pass
        });
        let ended = e.run();
        if !e.is_complete() {
            e.expect(&ended, &[74], "No space left on device");
        }
        drop(fs::remove_file(mount.path.join("filler")));
        e.clean(move || drop(mount));
    }),
    Fault::new("the disk for bookmark, rejects and log is read-only", |e| {
        let Some(mount) = mounted(e) else { return };
        let folder = e.world.folder();
        e.arm_anywhere(move || {
            kill(&folder, &[], "KILL");
            Fate::Pass
        });
        e.run();
        e.wait_for_end();
        e.injected += e.world.instants.disarm();
        mount.set("ro");
        let ended = e.run();
        e.expect(&ended, &[74], "ead-only");
        e.injected += 1;
        mount.set("rw");
        e.clean(move || drop(mount));
    }),
    Fault::new("the bookmark is torn", |e| {
        let folder = e.world.folder();
        e.arm_anywhere(move || {
            kill(&folder, &["pg-upsert"], "KILL");
            Fate::Pass
        });
        e.run();
        e.wait_for_end();
        let path = e.world.bookmark();
        if let Ok(content) = fs::read(&path) {
            let length = e.rng.usize(0..=content.len());
            e.tell(format!("torn after {length} of {} bytes", content.len()));
            fs::write(&path, &content[..length]).expect("a file can be written");
        }
    }),
    Fault::new("a second run of the same profile", |e| {
        let mut second = e.world.migrate(&["run"]);
        let (sender, refused) = channel();
        let (instant, number) = e.anywhere_that_waits();
        e.arm(instant, number, move || {
            drop(sender.send(second.output()));
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "");
        e.injected += e.world.instants.disarm();
        if let Ok(second) = refused.recv() {
            let second = second.expect("migrate runs");
            let said = String::from_utf8_lossy(&second.stderr).into_owned();
            let right = second.status.code() == Some(2) && said.contains("is running already");
            e.check(right, || format!("the second run: {:?} {said}", second.status));
        }
    }),
    Fault::new("a stale pid file whose pid is somebody else's", |e| {
        let mut stranger = Command::new("sleep").arg("infinity").stdin(Stdio::null()).spawn().expect("sleep runs");
        let began = e.rng.u32(..);
        let text = [format!("{}", stranger.id()), format!("{} {began}", stranger.id())];
        fs::write(e.world.file("pid"), &text[e.rng.usize(0..2)]).expect("a file can be written");
        let stopped = e.world.migrate(&["stop"]).output().expect("migrate runs");
        let said = String::from_utf8_lossy(&stopped.stdout).into_owned();
        e.check(stopped.status.success() && said.contains("is not running"), || format!("stop: {said}"));
        let ended = e.run();
        e.expect(&ended, &[1], "");
        let alive = stranger.try_wait().is_ok_and(|status| status.is_none());
        e.check(alive, || "a stranger was killed".to_owned());
        e.injected += 1;
        drop(stranger.kill());
        drop(stranger.wait());
    }),
];

/// The folder of the run's files on a small disk of its own.
fn mounted(e: &mut Experiment) -> Option<Mount> {
    let mount = Mount::at(e.world.dir.path(), "4m", "root");
    if mount.is_none() {
        e.skip("no file system can be mounted here");
    }
    mount
}

fn fill(folder: &Path) {
    let filler = folder.join("filler");
    // It fails when there is no room left, which is what it is for.
    let mut fill = Command::new("dd");
    drop(fill.args(["if=/dev/zero", &format!("of={}", filler.display()), "bs=512"]).stderr(Stdio::null()).status());
}

/// A small file system in memory, which is gone with this.
pub(super) struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts one; not everybody may.
    pub(super) fn at(path: &Path, size: &str, owner: &str) -> Option<Self> {
        let options = format!("size={size},uid={owner}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self { path: path.to_owned() })
    }

    fn set(&self, mode: &str) {
        let set = || {
            let mut mount = Command::new("mount");
            mount.args(["-o", &format!("remount,{mode}")]).arg(&self.path);
            mount.status().is_ok_and(|status| status.success())
        };
        // The kernel closes the files of a process a moment after there is nothing more to see of it.
        assert!((0..CLOSING).any(|_| set()), "a file system of ours can be set");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: nothing that still has a file there keeps it from going.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
