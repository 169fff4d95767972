//! What a table looks like: columns with their types, keys. Whether rows fit it is checked here too; how they are
//! written, `statement` says.

use ::fault::Fault;
use postgres::GenericClient;
use profile::policy::{Newest, check_version};
use profile::{Column, ColumnType, Kind, Policy, Schema};

use crate::{Error, quote_name};

/// A table as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The schema that it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<TableColumn>,
    /// The columns of its primary key, if it has one.
    pub primary_key: Option<Vec<String>>,
    /// The columns of each unique index that can arbitrate a conflict, the primary key's included.
    pub unique: Vec<Unique>,
    /// The columns of each deferrable primary key or unique constraint. `on conflict` cannot use these.
    pub deferrable: Vec<Vec<String>>,
}

/// A unique index without a predicate and expressions, which is checked with each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// Its columns.
    pub columns: Vec<String>,
    /// The name of the constraint that it belongs to, if it belongs to one.
    pub constraint: Option<String>,
}

/// A column as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the catalogue has them")]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type without length or precision, as `format_type` prints it.
    pub base: String,
    /// Its type with length or precision.
    pub full: String,
    /// `base` with the types that domains stand for, those of elements too: how values look.
    pub underlying: String,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether a row without it gets a value all the same.
    pub has_default: bool,
    /// Whether the server computes it, so that it cannot be written.
    pub computed: bool,
    /// Whether texts that differ are different: not in every collation.
    pub deterministic: bool,
    /// Whether it is `generated always as identity`: written only by a statement that overrides that.
    pub identity_always: bool,
}

/// The casts to `name` cut a name off where PostgreSQL does.
const FIND: &str = "
    select c.oid, n.nspname::text, c.relname::text, c.relkind::text
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relname = $1::text::name
      and (n.nspname = $2::text::name or ($2::text is null and pg_catalog.pg_table_is_visible(c.oid)))";

const COLUMNS: &str = "
    with recursive resolved(attnum, type, is_array, step) as (
        select attnum, atttypid, false, 0
        from pg_catalog.pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped
        union all
        select r.attnum, case when t.typtype = 'd' then t.typbasetype else t.typelem end,
               r.is_array or t.typtype <> 'd', r.step + 1
        from resolved r join pg_catalog.pg_type t on t.oid = r.type
        left join pg_catalog.pg_type e on e.oid = t.typelem and e.typarray = t.oid
        where t.typtype = 'd' or (e.oid is not null and not r.is_array)
    )
    select a.attname::text, pg_catalog.format_type(a.atttypid, null), pg_catalog.format_type(a.atttypid, a.atttypmod),
           a.attnotnull, a.atthasdef or a.attidentity <> '', a.attgenerated <> '',
           coalesce((select c.collisdeterministic from pg_catalog.pg_collation c where c.oid = a.attcollation), true),
           (select pg_catalog.format_type(r.type, null) || case when r.is_array then '[]' else '' end
            from resolved r where r.attnum = a.attnum order by r.step desc limit 1), a.attidentity = 'a'
    from pg_catalog.pg_attribute a
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
    order by a.attnum";

const UNIQUE: &str = "
    select i.indisprimary, array(
        select a.attname::text from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(attnum, place)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.place),
        i.indimmediate,
        (select c.conname::text from pg_catalog.pg_constraint c
         where c.conrelid = i.indrelid and c.conindid = i.indexrelid and c.contype in ('p', 'u'))
    from pg_catalog.pg_index i
    where i.indrelid = $1 and i.indisunique and i.indisvalid
      and i.indpred is null and i.indexprs is null
    order by i.indisprimary desc, i.indexrelid";

/// The tables that a view reads.
const READS: &str = "
    select distinct n.nspname::text, c.relname::text
    from pg_catalog.pg_rewrite r
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> r.ev_class
    join pg_catalog.pg_class c on c.oid = d.refobjid and c.relkind in ('r', 'p')
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where r.ev_class = $1
    order by 1, 2";

/// Names as PostgreSQL keeps them: of a long one only the first bytes.
const KEPT: &str =
    "select array(select name::name::text from unnest($1::text[]) with ordinality n(name, place) order by place)";

/// Names as the server keeps them, in a transaction. Of a name that is too long it keeps the first 63 bytes; psql says so
/// and goes on.
///
/// # Errors
/// The server cannot be asked.
pub fn kept(client: &mut impl GenericClient, names: &[String]) -> Result<Vec<String>, Error> {
    let failed = Error::on("cannot look up names");
    Ok(client.query_one(KEPT, &[&names]).map_err(failed)?.get(0))
}

impl Table {
    /// Looks a table up, in a transaction; without a schema, along the search path.
    ///
    /// # Errors
    /// The catalogue cannot be read, or what has that name is not a table.
    pub fn find(client: &mut impl GenericClient, schema: Option<&str>, name: &str) -> Result<Option<Self>, Error> {
        let failed = || Error::on(format!("cannot look up the table `{name}`"));
        let Some(found) = client.query_opt(FIND, &[&name, &schema]).map_err(failed())? else { return Ok(None) };
        let oid: u32 = found.get(0);
        let (kind, found_name): (String, String) = (found.get(3), found.get(2));
        if !matches!(kind.as_str(), "r" | "p") {
            let reads = client.query(READS, &[&oid]).map_err(failed())?;
            let reads = reads.iter().map(|row| format!("{}.{}", quote_name(row.get(0)), quote_name(row.get(1))));
            return Err(not_a_table(&found_name, &kind, &reads.collect::<Vec<_>>()));
        }
        let columns = client.query(COLUMNS, &[&oid]).map_err(failed())?;
        let indexes = client.query(UNIQUE, &[&oid]).map_err(failed())?;
        let mut table = Self {
            schema: found.get(1),
            name: found_name,
            columns: columns.iter().map(column).collect(),
            primary_key: None,
            unique: Vec::new(),
            deferrable: Vec::new(),
        };
        for index in &indexes {
            let columns: Vec<String> = index.get(1);
            if index.get(0) {
                table.primary_key = Some(columns.clone());
            }
            if index.get(2) {
                table.unique.push(Unique { columns, constraint: index.get(3) });
            } else {
                table.deferrable.push(columns);
            }
        }
        Ok(Some(table))
    }

    /// Whether it has no row, and nothing by which COPY into it would do other than INSERT (rules, row security).
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn is_empty(&self, client: &mut impl GenericClient) -> Result<bool, Error> {
        let name = self.sql();
        let plain =
            "select not (relhasrules or relrowsecurity) from pg_catalog.pg_class where oid = $1::text::regclass";
        let empty = format!("select not exists (select from {name})");
        let failed = || Error::on(format!("cannot look into the table `{}`", self.name));
        let plain: bool = client.query_one(plain, &[&name]).map_err(failed())?.get(0);
        Ok(plain && client.query_one(&empty, &[]).map_err(failed())?.get::<_, bool>(0))
    }

    /// Its name as SQL, with its schema.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_name(&self.schema), quote_name(&self.name))
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether `on conflict` can merge rows by these columns, in whatever order.
    pub fn has_key(&self, key: &[String]) -> bool {
        self.unique.iter().any(|unique| is_over(&unique.columns, key)) && !self.needs_constraint(key)
            || self.arbiter(key).is_some()
    }

    /// The constraint that `on conflict` has to name for a key. Without one it names the key's columns.
    ///
    /// By columns PostgreSQL chooses every unique index over them, also that of a deferrable constraint, and then refuses
    /// the statement because of it.
    pub fn arbiter(&self, key: &[String]) -> Option<&str> {
        let mut unique = self.unique.iter().filter(|unique| is_over(&unique.columns, key));
        if self.needs_constraint(key) { unique.find_map(|unique| unique.constraint.as_deref()) } else { None }
    }

    /// Whether a deferrable constraint is over these columns.
    fn needs_constraint(&self, key: &[String]) -> bool {
        self.deferrable.iter().any(|columns| is_over(columns, key))
    }

    /// What is wrong with the key, and the statement that helps.
    fn no_key(&self, key: &[String]) -> Error {
        let (table, sql) = (&self.name, self.sql());
        let list = key.iter().map(|name| quote_name(name)).collect::<Vec<_>>().join(", ");
        if self.needs_constraint(key) {
            let primary = self.primary_key.as_ref().is_some_and(|columns| is_over(columns, key));
            let what = if primary {
                format!("the primary key of `{table}`")
            } else {
                format!("the unique constraint of `{table}` over ({list})")
            };
            let message = format!("{what} is deferrable, and `on conflict` cannot use a deferrable constraint");
            return setup(message)
                .with_hint(format!("add a second one that is not deferrable: alter table {sql} add unique ({list})"));
        }
        let message = format!("the table `{table}` has no primary key or unique index over ({list})");
        // A table has one primary key at most.
        setup(message).with_hint(if self.primary_key.is_none() {
            format!("alter table {sql} add primary key ({list})")
        } else {
            format!("create unique index on {sql} ({list})")
        })
    }

    /// Whether the key's columns have types by which keys can be told apart without asking the server: those of the
    /// schema's rows, or others of the same values. A type that rounds has not, nor one with its own idea of what is equal.
    pub fn tells_apart(&self, schema: &Schema) -> bool {
        schema.key.iter().all(|name| {
            let (Some(index), Some(column)) = (schema.index(name), self.column(name)) else { return false };
            let ty = &schema.columns[index].ty;
            let (wanted, base, full) = (ty.base(), column.base.as_str(), column.full.as_str());
            match ty.kind() {
                Kind::Integer(..) | Kind::Numeric => matches!(full, "smallint" | "integer" | "bigint" | "numeric"),
                Kind::Text if wanted == "character" => base == wanted && column.deterministic,
                Kind::Text => matches!(base, "text" | "character varying") && column.deterministic,
                _ => full == wanted,
            }
        })
    }

    /// Checks that the columns that say which row is the newer one can do so.
    fn check_versions(&self, schema: &Schema) -> Vec<Error> {
        let mut problems = Vec::new();
        for column in &schema.columns {
            let Policy::Newest(Newest { by }) = &column.merge else { continue };
            let version = schema.columns.iter().find(|version| version.name == *by && !schema.key.contains(by));
            if version.is_none_or(|version| version.merge != Policy::Greatest) {
                problems.push(
                    setup(format!(
                        "the column `{}` is merged by the version `{by}`, which has to be a column of the rows that is \
                     merged as the greatest",
                        column.name
                    ))
                    .with_hint(format!("take `{by}` into the rows, merged as the greatest")),
                );
            }
            if let Some(version) = self.column(by) {
                problems.extend(compared(&self.name, version, check_version).err());
            }
        }
        problems
    }

    /// Checks that rows of a schema can be written.
    ///
    /// # Errors
    /// The first thing that is in the way, as one sentence.
    pub fn check(&self, schema: &Schema) -> Result<(), Error> {
        self.problems(schema).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that keeps rows of a schema from being written, one sentence each.
    pub fn problems(&self, schema: &Schema) -> Vec<Error> {
        let table = &self.name;
        let mut problems = Vec::new();
        for wanted in &schema.columns {
            let name = &wanted.name;
            let Some(column) = self.column(name) else {
                problems.push(setup(format!("the table `{table}` has no column `{name}`")).with_hint(format!(
                    "alter table {} add column {} {}",
                    self.sql(),
                    quote_name(name),
                    wanted.ty.sql()
                )));
                continue;
            };
            if column.computed {
                let hint = format!("take `{name}` out of the profile, or make it a plain column");
                let message = format!("the column `{name}` of `{table}` is computed by the server");
                problems.push(setup(message).with_hint(hint));
            }
            problems.extend(check_identity(table, schema, wanted, column).err());
            problems.extend(check_type(table, wanted, column).err());
        }
        problems.extend(self.check_versions(schema));
        for side in schema.groups.iter().map(|group| &group.preferred_side.column) {
            if self.column(side).is_some_and(|column| column.base != "jsonb") {
                problems.push(
                    setup(format!("the column `{side}` of `{table}` decides for a group; that needs jsonb"))
                        .with_hint(format!("alter table {} alter {} type jsonb", self.sql(), quote_name(side))),
                );
            }
        }
        if !self.has_key(&schema.key) {
            problems.push(self.no_key(&schema.key));
        }
        let forgotten = self.columns.iter().filter(|column| {
            column.not_null && !column.has_default && !column.computed && schema.index(&column.name).is_none()
        });
        for name in forgotten.map(|column| &column.name) {
            let message = format!("the column `{name}` of `{table}` may not be null and the rows do not have it");
            problems.push(setup(message).with_hint(format!("give `{name}` a default, or add it to the profile")));
        }
        problems
    }
}

fn setup(message: String) -> Error {
    Error::found(Fault::Setup, message)
}

/// Whether an index has exactly the key's columns.
fn is_over(columns: &[String], key: &[String]) -> bool {
    columns.len() == key.len() && key.iter().all(|name| columns.contains(name))
}

/// Something else has the name of a table. `kind` is its `relkind`, `reads` the tables that a view reads.
fn not_a_table(name: &str, kind: &str, reads: &[String]) -> Error {
    let what = match kind {
        "v" => "a view",
        "m" => "a materialized view",
        "S" => "a sequence",
        "i" | "I" => "an index",
        "c" => "a composite type",
        "f" => {
            return setup(format!("`{name}` is a foreign table, which has no unique index to merge rows by"))
                .with_hint("connect to the database that has the table itself");
        }
        _ => "something else",
    };
    setup(format!("`{name}` is {what}, not a table")).with_hint(match reads {
        [] => "name a table".to_owned(),
        [table] => format!("name the table that it reads: {table}"),
        tables => format!("name a table that it reads: {}", tables.join(", ")),
    })
}

fn column(row: &postgres::Row) -> TableColumn {
    TableColumn {
        name: row.get(0),
        base: row.get(1),
        full: row.get(2),
        not_null: row.get(3),
        has_default: row.get(4),
        computed: row.get(5),
        deterministic: row.get(6),
        underlying: row.get(7),
        identity_always: row.get(8),
    }
}

/// Checks that a column which is `generated always as identity` can take values of rows.
fn check_identity(table: &str, schema: &Schema, wanted: &Column, column: &TableColumn) -> Result<(), Error> {
    if !column.identity_always {
        return Ok(());
    }
    let message = format!("the column `{}` of `{table}` is generated always as identity", wanted.name);
    if !schema.overriding_system_value {
        let hint =
            "`overriding_system_value = true` in the profile or --overriding-system-value writes the values of rows";
        return Err(setup(format!("{message}: only the server gives it values")).with_hint(hint));
    }
    if wanted.merge != Policy::Keep && !schema.key.contains(&wanted.name) {
        let hint = format!("give `{}` the policy `keep`: a row that is there keeps its value", wanted.name);
        return Err(setup(format!("{message}: PostgreSQL does not update it")).with_hint(hint));
    }
    Ok(())
}

fn check_type(table: &str, wanted: &Column, column: &TableColumn) -> Result<(), Error> {
    let Column { name, ty, merge, .. } = wanted;
    let found = column.base.as_str();
    let domain =
        if column.underlying == column.base { String::new() } else { format!(", a domain over {}", column.underlying) };
    let types = [&column.underlying, &column.base];
    if !types.iter().any(|found| found.parse().is_ok_and(|found| fits(ty, &found))) {
        let message = format!("the column `{name}` of `{table}` is {found}{domain}, the rows have {ty}");
        // `UserRole` in a profile is `userrole`.
        let in_capitals = ty.base() == found.replace('"', "").to_lowercase();
        return Err(setup(message).with_hint(if in_capitals {
            format!("without double quotes a name is lower case, as in SQL: write `{found}` in the profile")
        } else {
            format!("change the type of `{name}` in the profile or in the table")
        }));
    }
    let needs_jsonb = match merge {
        Policy::Keep | Policy::Replace | Policy::Coalesce | Policy::Newest(_) | Policy::Sql => false,
        Policy::JsonbMerge | Policy::JsonbMergeText | Policy::KeyedArray(_) => true,
        Policy::Greatest | Policy::Least | Policy::Union => {
            return compared(table, column, |ty| merge.check_type(ty));
        }
    };
    if needs_jsonb && found != "jsonb" {
        let message = format!("the column `{name}` of `{table}` is {found}; its merge policy needs jsonb");
        return Err(setup(message).with_hint(format!("make `{name}` a jsonb column of the table")));
    }
    Ok(())
}

/// Checks that the table compares values of a column as the stream does, where its type need not be that of the rows.
fn compared(table: &str, column: &TableColumn, check: impl Fn(&ColumnType) -> Result<(), String>) -> Result<(), Error> {
    let TableColumn { name, full, .. } = column;
    let checked = match full.parse() {
        Ok(ty) => check(&ty),
        Err(_) => Err(format!("values of the type {full} are not compared here")),
    };
    checked.map_err(|problem| {
        setup(format!("the column `{name}` of `{table}` cannot be merged: {problem}"))
            .with_hint("give the column the profile's type, or merge it otherwise")
    })
}

/// Types whose values go unchanged into each of the types after it.
const WIDER: [(&str, &[&str]); 6] = [
    ("smallint", &["integer", "bigint", "numeric", "real", "double precision"]),
    ("integer", &["bigint", "numeric", "double precision"]),
    ("bigint", &["numeric"]),
    ("real", &["double precision"]),
    ("date", &["timestamp without time zone"]),
    ("json", &["jsonb"]),
];

/// Whether what is written as one type can be kept by another without a loss.
fn fits(wanted: &ColumnType, found: &ColumnType) -> bool {
    if wanted.is_same(found) {
        return true;
    }
    let plain = |ty: &ColumnType| ty.base().trim_end_matches("[]").to_owned();
    let wider = WIDER.iter().any(|(narrow, wider)| *narrow == plain(wanted) && wider.contains(&plain(found).as_str()));
    // `"char"` keeps the first byte of a text, and says nothing.
    let text =
        wanted.kind() == Kind::Text && matches!(found.kind(), Kind::Text | Kind::Other) && plain(found) != "\"char\"";
    wanted.is_array() == found.is_array() && (wider || text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_fits_where_nothing_is_lost() {
        for (wanted, found, expected) in [
            ("bigint", "bigint", true),
            ("integer", "bigint", true),
            ("bigint", "integer", false),
            ("bigint", "numeric", true),
            ("numeric", "double precision", false),
            ("text", "character varying", true),
            ("text", "mood", true),
            ("text", "bigint", false),
            ("mood", "public.mood", true),
            ("\"UserRole\"", "tenant.\"UserRole\"", true),
            ("UserRole", "\"UserRole\"", false),
            ("text", "\"UserRole\"", true),
            ("text[]", "\"UserRole\"[]", true),
            ("text", "\"UserRole\"[]", false),
            ("varbit", "bit varying", true),
            ("text", "interval", true),
            ("char", "\"char\"", false),
            ("citext", "extensions.citext", true),
            ("text[]", "text[]", true),
            ("text[]", "character varying[]", true),
            ("text", "text[]", false),
            ("timestamp with time zone", "timestamp without time zone", false),
            ("json", "jsonb", true),
            ("jsonb", "json", false),
        ] {
            assert_eq!(fits(&wanted.parse().unwrap(), &found.parse().unwrap()), expected, "{wanted} in {found}");
        }
    }
}
