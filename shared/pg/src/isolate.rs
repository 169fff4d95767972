//! The statements that find the rows of a stage which the table refuses, inside one transaction, when a batch as a whole has
//! failed. When they run, `pg-upsert` decides; the statements of a batch that succeeds are in `statement`.
//!
//! 1. If COPY refused a value, the rows go to a table of texts, and the server converts them with the types' own input
//!    functions, as COPY does ([`Isolate::convert`]).
//! 2. One query for each rule of the table marks the suspects: NULLs, failed checks, duplicates, orphans
//!    ([`Isolate::mark`]). A suspect may be innocent, because a trigger or a merge policy may change its row.
//! 3. All other rows are written together. If that fails, they are bisected. Then each suspect is tried alone
//!    ([`Isolate::write`]).
//!
//! Every attempt is a subtransaction on the server, so a batch stays one transaction whatever it contains. What is refused goes to
//! a temporary table with the server's own words.
//!
//! An error code alone does not always tell who is to blame: a trigger may raise any. If such an error comes before any row
//! passed, up to [`PROBES`] single rows from all over the batch are tried. When none of them passes, the table or the session is at fault,
//! and the batch is hopeless.

use profile::Schema;

use crate::constraints::{Constraints, ForeignKey, TableId, Unique};
use crate::fault::{RECORD_CLASSES, RECORD_CODES, TRANSIENT_CLASSES, TRANSIENT_CODES};
use crate::statement::{Names, Statements, stage, table_name};
use crate::{quote_name, quote_text};

/// Single rows that are tried before a batch is called hopeless.
const PROBES: usize = 32;

/// The error code by which a probe that passed is undone; it never leaves the block.
const UNDO: &str = "DDB00";

/// The statements for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolate {
    /// Comes first: the tables of results. Deferrable constraints are checked with each statement from here on.
    pub prepare: String,
    /// Makes the table of texts.
    pub texts: String,
    /// Takes rows as texts: an index, then the columns, in COPY's text format.
    pub copy_texts: String,
    /// Fills the stage from the texts.
    pub convert: Bisection,
    /// Marks suspects. Rows that may wait are refused with their reason and leave the stage.
    pub mark: String,
    /// The same where nothing may wait.
    pub mark_all: String,
    /// Writes all rows but suspects.
    pub write: Bisection,
    /// Writes suspects, one by one.
    pub write_suspects: Bisection,
    /// Deletes the rows of the table whose keys are in the stage.
    pub delete: Bisection,
    /// What was refused: index, code, text, constraint, `t` if the batch is hopeless.
    pub refused: String,
    /// What passed and was not written, as [`Statements::untouched`].
    pub untouched: String,
}

/// A statement over a range of rows that is repeated with fewer of them when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisection {
    names: Names,
    /// What comes before the block: an index by which a range of rows is found.
    before: String,
    /// A query of the rows' indexes.
    rows: String,
    /// The declaration of a variable that the statement uses.
    variable: String,
    /// The statement, for the indexes between two variables.
    statement: String,
    /// Whether all rows are tried together at first.
    together: bool,
    /// A condition that says whether other rows of the batch have passed.
    others_passed: String,
}

/// What a bisection has to know.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// A row of the batch has passed already, so an error is that of its row.
    pub passed: bool,
    /// It ends after so many refusals as long as no row passes.
    pub most_if_none_pass: u64,
    /// It ends after so many refusals in any case.
    pub most: u64,
}

impl Bisection {
    /// The block that does it. If it ends early, a refusal without an index says so.
    pub fn sql(&self, circumstances: Circumstances) -> String {
        let Self { names, before, rows, variable, statement, together, others_passed } = self;
        let Names { first, last, refused, .. } = names;
        let Circumstances { passed, most_if_none_pass, most } = circumstances;
        let bounded = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);
        let (most_if_none_pass, most) = (bounded(most_if_none_pass), bounded(most));
        let step = if *together { "greatest(total, 1)" } else { "1" };
        let widen = if *together { "step := least(step::bigint * 2, 1000000);" } else { "" };
        // The next refusal is most likely as far away as this one was from the last.
        let resume = if *together { "step := greatest((at - last_refused) / 2, 1);" } else { "" };
        let list = |values: &[&str]| values.iter().map(|value| quote_text(value)).collect::<Vec<_>>().join(", ");
        let transient =
            format!("left(state, 2) in ({}) or state in ({})", list(&TRANSIENT_CLASSES), list(&TRANSIENT_CODES));
        let of_record = format!("left(state, 2) in ({}) or state in ({})", list(&RECORD_CLASSES), list(&RECORD_CODES));
        // The driver's text of an error: message, detail, hint.
        let caught = "get stacked diagnostics state = returned_sqlstate, message = message_text, \
             detail = pg_exception_detail, hint = pg_exception_hint, violated = constraint_name;
             message := concat_ws('; ', message, nullif(detail, ''), nullif(hint, ''));";
        let body = format!(
            "#variable_conflict use_column
            declare
              indexes int[] := array({rows});
              total int := cardinality(indexes);
              at int := 1; upto int; step int := {step}; last_refused int := 0;
              {first} int; {last} int; {variable}
              passed boolean := {passed} or {others_passed}; refusals bigint := (select count(*) from {refused}); probed boolean := false; probes int;
              state text; message text; detail text; hint text; violated text;
            begin
              while at <= total loop
                upto := least(at + step - 1, total);
                {first} := indexes[at]; {last} := indexes[upto];
                begin
                  {statement};
                  passed := true; at := upto + 1; {widen}
                exception when others then
                  {caught}
                  if {transient} then raise; end if;
                  if not (passed or probed or {of_record}) then
                    probed := true;
                    probes := least(total, {PROBES});
                    for probe in 0 .. probes - 1 loop
                      {first} := indexes[1 + (probe::bigint * total / probes)::int]; {last} := {first};
                      begin
                        {statement};
                        raise exception sqlstate '{UNDO}';
                      exception when others then
                        passed := sqlstate = '{UNDO}';
                        if not passed then
                          {caught}
                          if {transient} then raise; end if;
                        end if;
                      end;
                      exit when passed;
                    end loop;
                    if not passed then
                      insert into {refused} values ({first}, state, message, nullif(violated, ''), true);
                      return;
                    end if;
                  elsif upto > at then
                    step := (upto - at + 1) / 2;
                  else
                    insert into {refused} values ({first}, state, message, nullif(violated, ''), false);
                    refusals := refusals + 1;
                    if refusals >= {most} or (refusals >= {most_if_none_pass} and not passed) then
                      insert into {refused} values (null, state, message, null, false);
                      return;
                    end if;
                    {resume} last_refused := at; at := at + 1;
                  end if;
                end;
              end loop;
            end"
        );
        format!("{before}do {}", quote_text(&body))
    }
}

impl Isolate {
    /// The statements for one table with these rules, in a run that loads all these tables.
    pub(crate) fn of(
        schema: &Schema,
        number: usize,
        statements: &Statements,
        constraints: &Constraints,
        loaded: &[TableId],
    ) -> Self {
        let names = &statements.names;
        let Names { index, suspect, first, last, refused, untouched, texts } = names;
        let stage = stage(schema, number);
        let between = |alias: &str| format!("{alias}.{index} between {first} and {last}");
        let write =
            |condition: &str| statements.merge_of(&format!("{} and {condition}", between("excluded")), Some(untouched));
        let rows = |condition: &str| {
            format!("select s.{index} from pg_temp.{stage} as s where {condition} order by s.{index}")
        };
        let bisection = |rows, statement, together| {
            let (before, variable) = (String::new(), String::new());
            let others_passed = "false".to_owned();
            Bisection { names: names.clone(), before, rows, variable, statement, together, others_passed }
        };
        let marks = Marks { schema, constraints, names, stage: &stage, loaded };
        let columns: Vec<_> = (1..=schema.columns.len()).map(|n| format!("c{n} text")).collect();
        let columns = columns.join(", ");
        Self {
            prepare: format!(
                "set constraints all immediate;
                 create temporary table {refused}
                   (row_index int, state text, message text, violated text, hopeless boolean) on commit drop;
                 create temporary table {untouched}
                   (row_index int, left_alone boolean, written bigint) on commit drop"
            ),
            texts: format!("create temporary table {texts} (row_index int, {columns}) on commit drop"),
            copy_texts: format!("copy {texts} from stdin"),
            convert: Bisection {
                before: format!("create unique index on {texts} (row_index); "),
                variable: format!("convert text := ({});", convert(&stage, texts)),
                ..bisection(
                    format!("select t.row_index from {texts} as t order by t.row_index"),
                    format!("execute convert using {first}, {last}"),
                    true,
                )
            },
            mark: marks.sql(true),
            mark_all: marks.sql(false),
            write: bisection(
                rows(&format!("s.{suspect} is null")),
                write(&format!("excluded.{suspect} is null")),
                true,
            ),
            write_suspects: Bisection {
                others_passed: format!(
                    "exists (select from pg_temp.{stage} as s where s.{suspect} is null
                       and not exists (select from {refused} as r where r.row_index = s.{index}))"
                ),
                ..bisection(rows(&format!("s.{suspect}")), write("true"), false)
            },
            delete: Bisection {
                before: format!("create unique index on pg_temp.{stage} ({index}); "),
                ..bisection(rows("true"), statements.delete_of(&between("gone")), true)
            },
            refused: format!("select row_index, state, message, violated, hopeless from {refused}"),
            untouched: format!("select row_index, left_alone, written from {untouched}"),
        }
    }
}

/// A query of the statement that converts texts with the input functions of the stage's types, as COPY does: a cast would cut
/// a text that is too long. Its parameters are the first and the last index.
///
/// The input functions of enums, arrays, domains and composite types do not say what they return. There
/// `json_populate_record` calls them for a column of the stage; a domain over JSON, in which it would see a JSON string,
/// is checked when its value is inserted.
fn convert(stage: &str, texts: &str) -> String {
    format!(
        "select format(
           'insert into pg_temp.{stage} select t.row_index, %s from {texts} as t where t.row_index between $1 and $2',
           string_agg(case r.typtype
             when 'p' then format(
               '(pg_catalog.json_populate_record(null::pg_temp.{stage}, pg_catalog.json_build_object(%L, t.c%s))).%I',
               a.attname, a.attnum - 1, a.attname)
             else format('%s(pg_catalog.textout(t.c%s)%s)', p.oid::regproc, a.attnum - 1,
               case p.pronargs when 1 then '' else
                 format(', %s::oid', case y.typelem when 0 then y.oid else y.typelem end) end
               || case p.pronargs when 3 then format(', %s', a.atttypmod) else '' end)
             end, ', ' order by a.attnum))
         from pg_catalog.pg_attribute a
         join pg_catalog.pg_type d on d.oid = a.atttypid
         join pg_catalog.pg_type y on y.oid =
           case when d.typbasetype in ('json'::regtype, 'jsonb'::regtype) then d.typbasetype else d.oid end
         join pg_catalog.pg_proc p on p.oid = y.typinput join pg_catalog.pg_type r on r.oid = p.prorettype
         where a.attrelid = 'pg_temp.{stage}'::pg_catalog.regclass and a.attnum > 1 and not a.attisdropped"
    )
}

/// What makes the queries that mark suspects.
struct Marks<'a> {
    schema: &'a Schema,
    constraints: &'a Constraints,
    names: &'a Names,
    stage: &'a str,
    loaded: &'a [TableId],
}

impl Marks<'_> {
    /// One block. A query that the server refuses (say, because the table referred to may not be read) does nothing: it is about
    /// suspects only.
    fn sql(&self, may_wait: bool) -> String {
        let Names { index, suspect, refused, .. } = self.names;
        let stage = self.stage;
        let may_hold_later = self.constraints.may_hold_later(self.loaded);
        let mut queries = self.indexes();
        let mark = |condition: &str| format!("update pg_temp.{stage} as s set {suspect} = true where {condition}");
        let known = |columns: &[String]| columns.iter().all(|column| self.schema.index(column).is_some());

        let null = self.constraints.not_null.iter().filter(|name| self.schema.index(name).is_some());
        let null: Vec<_> = null.map(|name| format!("s.{} is null", quote_name(name))).collect();
        if !null.is_empty() {
            queries.push(mark(&null.join(" or ")));
        }
        for check in self.constraints.checks.iter().filter(|check| known(&check.columns)) {
            queries.push(mark(&format!("not ({})", check.condition)));
        }
        let key = &self.schema.key;
        let is_key =
            |unique: &Unique| unique.columns.len() == key.len() && key.iter().all(|name| unique.columns.contains(name));
        for unique in self.constraints.unique.iter().filter(|unique| known(&unique.columns) && !is_key(unique)) {
            queries.push(mark(&self.duplicate(unique)));
        }
        for foreign in self.constraints.foreign_keys.iter().filter(|foreign| known(&foreign.columns)) {
            let orphans = self.orphans(foreign);
            if may_wait && may_hold_later.contains(&foreign.name) {
                // Without a try of each row alone: all are tried again when the run has loaded everything.
                queries.push(format!(
                    "with orphans as ({orphans}), gone as (
                       delete from pg_temp.{stage} as s using orphans where s.{index} = orphans.row_index)
                     insert into {refused} select row_index, '23503', {}, {}, false from orphans",
                    quote_text(&format!("the row that the foreign key `{}` refers to is not there", foreign.name)),
                    quote_text(&foreign.name)
                ));
            } else {
                queries.push(format!(
                    "update pg_temp.{stage} as s set {suspect} = true from ({orphans}) as orphans where s.{index} = orphans.row_index"
                ));
            }
        }
        let each = queries.into_iter().map(|query| format!("begin {query}; exception when others then null; end;\n"));
        let body = format!("begin\n{}end", each.collect::<String>());
        // Few of very many rows: each is looked up in an index.
        format!(
            "alter table pg_temp.{stage} add column {suspect} boolean;
             create unique index on pg_temp.{stage} ({index});
             set local enable_seqscan = off; do {}; set local enable_seqscan = on",
            quote_text(&body)
        )
    }

    /// Statements that make indexes of the stage for what refers to rows of the stage itself. A value may be too large for one.
    fn indexes(&self) -> Vec<String> {
        let list = |columns: &[String]| columns.iter().map(|name| quote_name(name)).collect::<Vec<_>>().join(", ");
        let known = |columns: &[String]| columns.iter().all(|column| self.schema.index(column).is_some());
        let itself = self.constraints.foreign_keys.iter().filter(|foreign| foreign.to_itself);
        let itself = itself.filter(|foreign| known(&foreign.columns) && known(&foreign.referenced));
        let itself = itself.flat_map(|foreign| [list(&foreign.columns), list(&foreign.referenced)]);
        let unique = self.constraints.unique.iter().filter(|unique| known(&unique.columns));
        let unique = unique.map(|unique| list(&unique.columns));
        itself.chain(unique).map(|columns| format!("create index on pg_temp.{} ({columns})", self.stage)).collect()
    }

    /// Rows of the stage whose values another row of the table has, or an earlier one of the stage.
    fn duplicate(&self, unique: &Unique) -> String {
        let Names { index, .. } = self.names;
        let (stage, table) = (self.stage, table_name(self.schema));
        let equal = |side: &str, columns: &[String]| {
            let each = quoted(columns).map(|name| format!("{side}.{name} = s.{name}"));
            each.collect::<Vec<_>>().join(" and ")
        };
        let same_key = equal("t", &self.schema.key);
        // Where it is checked after the statement, a row that the stage replaces is not in the way.
        let replaced = if unique.deferrable {
            let by_key = quoted(&self.schema.key).map(|name| format!("r.{name} = t.{name}"));
            let by_key = by_key.collect::<Vec<_>>().join(" and ");
            format!(" and not exists (select from pg_temp.{stage} as r where {by_key})")
        } else {
            String::new()
        };
        format!(
            "exists (select from {table} as t where {} and not ({same_key}){replaced}) \
             or exists (select from pg_temp.{stage} as e where {} and e.{index} < s.{index})",
            equal("t", &unique.columns),
            equal("e", &unique.columns),
        )
    }

    /// A query of the indexes of rows whose foreign key refers to nothing, neither in its table nor, if the table refers to itself,
    /// in the stage; and then of those which refer to such rows.
    fn orphans(&self, foreign: &ForeignKey) -> String {
        let Names { index, .. } = self.names;
        let stage = self.stage;
        let ForeignKey { columns, referenced, table, to_itself, .. } = foreign;
        let table = format!("{}.{}", quote_name(&table.schema), quote_name(&table.name));
        let pairs = |parent: &str, child: &str| {
            let each = referenced.iter().zip(columns);
            let each = each.map(|(to, from)| format!("{parent}.{} = {child}.{}", quote_name(to), quote_name(from)));
            each.collect::<Vec<_>>().join(" and ")
        };
        let set = quoted(columns).map(|name| format!("s.{name} is not null")).collect::<Vec<_>>().join(" and ");
        let missing = format!("{set} and not exists (select from {table} as p where {})", pairs("p", "s"));
        let of_stage = *to_itself && referenced.iter().all(|column| self.schema.index(column).is_some());
        if !of_stage {
            return format!("select s.{index} as row_index from pg_temp.{stage} as s where {missing}");
        }
        // A row that refers to an orphan is none if the table has the orphan's key from before.
        format!(
            "with recursive lost as (
               select s.{index} as row_index from pg_temp.{stage} as s
               where {missing} and not exists (select from pg_temp.{stage} as p where {})
               union
               select s.{index} from lost join pg_temp.{stage} as p on p.{index} = lost.row_index
               join pg_temp.{stage} as s on {}
               where {missing}
             ) select row_index from lost",
            pairs("p", "s"),
            pairs("p", "s"),
        )
    }
}

/// The columns' names as identifiers.
fn quoted(columns: &[String]) -> impl Iterator<Item = String> {
    columns.iter().map(|name| quote_name(name))
}
