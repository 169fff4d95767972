//! A full export and the increments that join it, in the order in which they are to be applied. How exports are found is
//! in `find`.

use jiff::Timestamp;
use retry::Limits;

use crate::error::{Error, Result};
use crate::find::{Manifest, Store, manifests, warn_of_unfinished};
use crate::location::Location;
use crate::manifest::{Extent, Summary};

/// What is to be found.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The full export to begin with; else where a run stands, or the newest one.
    pub full: Option<String>,
    /// What is applied already. It does not count where there is no increment: a full export alone is applied as often as
    /// that is asked for.
    pub standing: Option<Standing>,
    /// An export that was begun: it goes on before another one that would do as well.
    pub begun: Option<String>,
    /// Whether the newest of several full exports without increments is taken.
    pub newest: bool,
}

/// The state of a table that exports were applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The export that was applied last.
    pub export: String,
    /// The table that it is of; see [`Link::table_id`].
    pub table_id: Option<String>,
    /// Everything that was written before is applied.
    pub time: Timestamp,
}

/// Exports that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Where they were looked for, in full.
    pub source: String,
    /// The table's name, if the manifests say it.
    pub table: Option<String>,
    /// Those that are not applied yet, in order.
    pub links: Vec<Link>,
}

/// An export of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: String,
    /// The address of the folder with its manifests.
    pub prefix: String,
    /// The name of its table.
    pub table: Option<String>,
    /// What tells the table from another one that had its name before: `tableId`, else the ARN.
    pub table_id: Option<String>,
    /// How many items or changes it holds.
    pub items: Option<u64>,
    /// What of the table it holds.
    pub extent: Extent,
}

impl Link {
    fn new(store: &Store, manifest: Manifest) -> Result<Self> {
        let Manifest { id, folder, summary } = manifest;
        let extent = summary.extent(&id)?;
        let table = summary.table().map(str::to_owned);
        let items = summary.item_count;
        let Summary { table_id, table_arn, .. } = summary;
        Ok(Self { prefix: store.address(&folder), table, table_id: table_id.or(table_arn), items, extent, id })
    }

    /// Beginning and end of the period of an increment.
    fn period(&self) -> Option<(Timestamp, Timestamp)> {
        match self.extent {
            Extent::State { .. } => None,
            Extent::Changes { from, to, .. } => Some((from, to)),
        }
    }

    fn describe_table(&self) -> String {
        let name = self.table.as_deref().unwrap_or("an unknown table");
        self.table_id.as_ref().map_or_else(|| name.to_owned(), |id| format!("{name} ({id})"))
    }
}

/// Finds the exports under a prefix or in a folder that belong together; nothing where no export has a manifest.
///
/// What S3 could not do is tried again within `limits`.
pub fn chain(location: &Location, wanted: &Wanted, limits: Limits) -> Result<Option<Chain>> {
    let (store, source, objects) = Store::open(location, limits)?;
    let (exports, unfinished) = manifests(&store, &objects, None)?;
    if exports.is_empty() {
        return unfinished.into_iter().next().map_or(Ok(None), |id| Err(Error::Unfinished(id)));
    }
    warn_of_unfinished(&unfinished);
    let descriptions: Vec<_> = exports.iter().map(Manifest::describe).collect();
    let links = exports.into_iter().map(|export| Link::new(&store, export)).collect::<Result<Vec<_>>>()?;
    order(source, links, descriptions, wanted).map(Some)
}

/// Those of the exports that belong together, in order.
fn order(source: String, links: Vec<Link>, descriptions: Vec<String>, wanted: &Wanted) -> Result<Chain> {
    let table_id = table(&source, &links, &descriptions, wanted)?;
    let links: Vec<_> = links.into_iter().filter(|link| link.table_id == table_id).collect();
    // There is one at least.
    let (name, described) = links.first().map(|link| (link.table.clone(), link.describe_table())).unwrap_or_default();
    let chain = |links| Ok(Chain { source: source.clone(), table: name, links });
    let (increments, mut fulls): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| link.period().is_some());
    if increments.is_empty() && wanted.full.is_none() && fulls.len() > 1 && !wanted.newest {
        return Err(Error::Several { place: source, exports: descriptions });
    }
    // The id begins with the time of the export, so its order is the order in time.
    fulls.sort_by(|a, b| (state(a), &a.id).cmp(&(state(b), &b.id)));
    if let (Some(standing), None, false) = (&wanted.standing, &wanted.full, increments.is_empty()) {
        if standing.table_id != table_id {
            let applied = standing.export.clone();
            return Err(Error::OtherTable { applied, table: described, place: source });
        }
        return chain(join(standing.export.clone(), standing.time, increments, wanted.begun.as_deref())?);
    }
    let named = |id: &Option<String>| fulls.iter().position(|full| id.as_ref() == Some(&full.id));
    let full = match named(&wanted.full).or_else(|| named(&wanted.begun)) {
        Some(place) => Some(fulls.swap_remove(place)),
        None => fulls.pop(),
    };
    let Some(full) = full else { return Err(Error::NoFull { table: described, place: source }) };
    if increments.is_empty() {
        return chain(vec![full]);
    }
    let Some(time) = state(&full) else {
        let message = "has no `exportTime`, so nobody knows which increments come after it".to_owned();
        return Err(Error::Summary { id: full.id, message });
    };
    let mut links = join(full.id.clone(), time, increments, wanted.begun.as_deref())?;
    links.insert(0, full);
    chain(links)
}

fn state(link: &Link) -> Option<Timestamp> {
    if let Extent::State { time } = link.extent { time } else { None }
}

/// The table whose exports are meant.
fn table(source: &str, links: &[Link], descriptions: &[String], wanted: &Wanted) -> Result<Option<String>> {
    if let Some(id) = &wanted.full {
        let Some(link) = links.iter().find(|link| link.id == *id) else {
            let exports = descriptions.iter().map(|export| format!("is {export}")).collect();
            return Err(Error::NoSuchExport { id: id.clone(), place: source.to_owned(), exports });
        };
        if link.period().is_some() {
            return Err(Error::NotFull(id.clone()));
        }
        return Ok(link.table_id.clone());
    }
    if let Some(standing) = &wanted.standing
        && links.iter().any(|link| link.table_id == standing.table_id)
    {
        return Ok(standing.table_id.clone());
    }
    let mut tables: Vec<_> = links.iter().map(|link| (&link.table_id, link.describe_table())).collect();
    tables.sort();
    tables.dedup_by(|a, b| a.0 == b.0);
    match tables.as_slice() {
        [(table_id, _)] => Ok((*table_id).clone()),
        _ => Err(Error::Tables {
            place: source.to_owned(),
            tables: tables.into_iter().map(|(_, table)| table).collect(),
        }),
    }
}

/// The fewest increments that say everything from `until` on, in order; one that is begun comes first.
///
/// Each says the last state of what was written in its period, so one that reaches further makes others needless that end
/// before it.
fn join(mut before: String, mut until: Timestamp, increments: Vec<Link>, begun: Option<&str>) -> Result<Vec<Link>> {
    let mut rest: Vec<_> =
        increments.into_iter().filter_map(|link| link.period().map(|(from, to)| (from, to, link))).collect();
    let mut begun = begun;
    let mut links = Vec::new();
    loop {
        rest.retain(|(_, to, _)| *to > until);
        let joining = rest.iter().enumerate().filter(|(_, (from, ..))| *from <= until);
        let rank = |(_, (from, to, link)): &(usize, &(Timestamp, Timestamp, Link))| {
            (begun == Some(link.id.as_str()), *to, *from, link.id.clone())
        };
        let next = joining.max_by_key(rank).map(|(place, _)| place);
        let Some(next) = next else { break };
        let (_, to, link) = rest.swap_remove(next);
        (before, until) = (link.id.clone(), to);
        links.push(link);
        begun = None;
    }
    let Some((from, _, link)) = rest.into_iter().min_by_key(|(from, _, link)| (*from, link.id.clone())) else {
        return Ok(links);
    };
    let length = format!("{:#}", from.duration_since(until));
    Err(Error::Hole { before, until, after: link.id, from, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::View;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn increment(number: usize, (from, length): (i64, i64)) -> Link {
        Link {
            id: format!("{number:02}"),
            prefix: String::new(),
            table: None,
            table_id: None,
            items: None,
            extent: Extent::Changes { from: at(from), to: at(from + length), view: View::NewImages },
        }
    }

    proptest! {
        /// Against a look at each second: the chain says everything from its beginning to the end of the last increment, or
        /// there is a second that none says.
        #[test]
        fn a_chain_has_no_hole_and_nothing_needless(
            periods in prop::collection::vec((0..30_i64, 1..12_i64), 0..8), begin in 0..20_i64, begun in 0..9_usize
        ) {
            let increments: Vec<_> = periods.iter().enumerate().map(|(number, period)| increment(number, *period)).collect();
            let last = periods.iter().map(|(from, length)| from + length).max().unwrap_or(begin);
            let said = |second: i64, by: &[&Link]| {
                by.iter().filter_map(|link| link.period()).any(|(from, to)| from <= at(second) && at(second) < to)
            };
            let all: Vec<_> = increments.iter().collect();
            let missing = (begin..last).find(|second| !said(*second, &all));

            let begun_id = format!("{begun:02}");
            match join("full".to_owned(), at(begin), increments.clone(), Some(&begun_id)) {
                Ok(links) => {
                    prop_assert_eq!(missing, None);
                    let ours: Vec<_> = links.iter().collect();
                    prop_assert!((begin..last).all(|second| said(second, &ours)));
                    // Each joins those before it, and goes on beyond them.
                    let mut until = at(begin);
                    for (from, to) in links.iter().filter_map(Link::period) {
                        prop_assert!(from <= until && until < to);
                        until = to;
                    }
                    // None but the one that was begun can be left out.
                    for place in 0..links.len() {
                        let others: Vec<_> = links.iter().filter(|link| link.id != links[place].id).collect();
                        prop_assert!(links[place].id == begun_id || !(begin..last).all(|second| said(second, &others)));
                    }
                    if let Some(&(from, length)) = periods.get(begun)
                        && from <= begin && begin < from + length
                    {
                        prop_assert_eq!(&links[0].id, &begun_id);
                    }
                }
                Err(Error::Hole { until, from, .. }) => {
                    prop_assert_eq!(Some(until), missing.map(at));
                    let next = (begin..last).filter(|second| at(*second) > until).find(|second| said(*second, &all));
                    prop_assert_eq!(Some(from), next.map(at));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
