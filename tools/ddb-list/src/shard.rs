//! Shares of a list, about equal in bytes, that depend on the list alone.

use export::DataFile;

use crate::args::Shard;

/// The files of one share, in their order. The largest file goes first to the share that has least.
pub(crate) fn share(files: Vec<DataFile>, wanted: Shard) -> Vec<DataFile> {
    let mut by_size: Vec<_> = files.iter().collect();
    by_size.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
    let mut shares = vec![(0_u64, 0_usize); wanted.of];
    let mut ours = std::collections::HashSet::new();
    for file in by_size {
        // Of equal shares the first with the fewest files, so that empty files are spread too.
        let Some(least) = (0..shares.len()).min_by_key(|&share| shares[share]) else { break };
        shares[least].0 += file.bytes;
        shares[least].1 += 1;
        if least + 1 == wanted.index {
            ours.insert(file.key.clone());
        }
    }
    files.into_iter().filter(|file| ours.contains(&file.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(key: &str, bytes: u64) -> DataFile {
        DataFile { key: key.to_owned(), bytes, items: None, md5: None, etag: None }
    }

    #[test]
    fn shares_are_disjoint_complete_balanced_and_in_order() {
        let files: Vec<_> =
            [90, 10, 50, 40, 30, 20, 0].iter().enumerate().map(|(n, b)| file(&format!("{n}"), *b)).collect();
        let shares: Vec<_> = (1..=3).map(|index| share(files.clone(), Shard { index, of: 3 })).collect();
        let keys = |share: &[DataFile]| share.iter().map(|file| file.key.clone()).collect::<String>();
        // 90 | 50 20 10 | 40 30 0: by hand.
        assert_eq!(shares.iter().map(|share| keys(share)).collect::<Vec<_>>(), ["0", "125", "346"]);
        assert_eq!(share(files, Shard { index: 1, of: 1 }).len(), 7);
    }
}
