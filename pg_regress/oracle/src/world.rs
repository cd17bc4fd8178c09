//! One world: tables, views, functions, users, roles and policies, and the statements that build it.

use crate::decide::{Decision, Generated, Rights, decide, lineage};
use crate::dice::Dice;
use crate::govern::policies;
use crate::mirror::visible_key;
use crate::policy::{Policy, Role, User, attribute, definitions};
use crate::schema::{SCHEMA, Shape, Table, tables};
use crate::scope::{Abilities, Rel};
use crate::types::{ident, quote};
use crate::view::{Function, Object, View, governed, objects};

/// With whose rights something is read, and who the current user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// Whose rights count for relations that the body names.
    pub reader: Rights,
    /// Whose rights count for functions with their caller's rights, and for `security_invoker` views.
    pub current: Rights,
}

impl Level {
    /// What the subject itself asks.
    pub fn top(subject: usize) -> Level {
        Level {
            reader: Rights::Of(subject),
            current: Rights::Of(subject),
        }
    }
}

/// What comes of reading something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Rows.
    Works,
    /// 42501: something below is hidden.
    Refused,
    /// 42501 if it comes to that.
    Unclear,
}

/// Everything that a run of queries is about.
#[derive(Debug, Clone)]
pub struct World {
    /// Tables, parents before children.
    pub tables: Vec<Table>,
    /// Views.
    pub views: Vec<View>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Subjects.
    pub users: Vec<User>,
    /// Roles, parents before children.
    pub roles: Vec<Role>,
    /// Policies.
    pub policies: Vec<Policy>,
    /// `policy_required` instead of `open`.
    pub policy_required: bool,
    /// `betweenrows.barrier = always` instead of `adaptive`.
    pub barrier_always: bool,
    /// Indexes of tables that a user owns, with that user.
    pub owners: Vec<(usize, usize)>,
}

impl World {
    /// A random world; role names begin with `prefix`, since roles belong to the whole cluster.
    pub fn generate(dice: &mut Dice, prefix: &str) -> World {
        let tables = tables(dice);
        let roles = roles(dice, prefix);
        let users = users(dice, prefix, &roles);
        let (views, functions) = objects(dice, &tables, users.len());
        let policies = policies(dice, &tables, &views, &users, &roles);
        let roots: Vec<usize> = (0..tables.len())
            .filter(|index| tables[*index].parent.is_none())
            .collect();
        let owners = roots.iter().filter(|_| dice.chance(15)).copied().collect::<Vec<_>>();
        let owners = owners
            .into_iter()
            .map(|table| (table, dice.below(users.len())))
            .collect();
        let (policy_required, barrier_always) = (dice.chance(8), dice.chance(35));
        World {
            tables,
            views,
            functions,
            users,
            roles,
            policies,
            policy_required,
            barrier_always,
            owners,
        }
    }

    /// What a subject sees of a table when it is read with these rights.
    pub fn decision(&self, subject: usize, rights: Rights, table: &Table) -> Decision {
        let columns: Vec<String> = table.live().map(|column| column.name.clone()).collect();
        let generated: Vec<Generated> = table
            .live()
            .filter_map(|column| {
                let (_, base) = column.generated.clone()?;
                Some(Generated {
                    name: column.name.clone(),
                    base,
                    decl: column.decl,
                })
            })
            .collect();
        decide(
            self,
            subject,
            rights,
            &lineage(&self.tables, table),
            &columns,
            &generated,
        )
    }

    /// What a subject sees of a view that is read with these rights, over what the view shows to it.
    pub fn view_decision(&self, subject: usize, rights: Rights, view: &View) -> Decision {
        let columns: Vec<String> = view.columns.iter().map(|(name, _)| unquoted(name)).collect();
        decide(self, subject, rights, std::slice::from_ref(&view.name), &columns, &[])
    }

    /// The rights inside a view's body, or a function's, that is used at some level.
    pub fn inside(&self, object: Object<'_>, level: Level) -> Level {
        match object {
            Object::View(view) if view.options.contains("invoker") => Level {
                reader: level.current,
                ..level
            },
            Object::View(view) => Level {
                reader: view.owner.map_or(Rights::Exempt, Rights::Of),
                ..level
            },
            Object::Function(function) if function.definer => Level {
                reader: Rights::Exempt,
                current: Rights::Exempt,
            },
            Object::Function(_) => Level {
                reader: level.current,
                ..level
            },
        }
    }

    /// The views and functions in the order in which they were made.
    pub fn objects(&self) -> Vec<Object<'_>> {
        let mut all: Vec<Object<'_>> = self.views.iter().map(Object::View).collect();
        all.extend(self.functions.iter().map(Object::Function));
        all.sort_by_key(Object::number);
        all
    }

    /// The functions that reading these relations may call, at any depth.
    pub fn functions<'a>(&'a self, reads: impl Iterator<Item = &'a String>) -> Vec<&'a Function> {
        let objects = self.objects();
        let mut found = Vec::new();
        let mut open: Vec<&String> = reads.collect();
        while let Some(name) = open.pop() {
            if let Some(object) = objects.iter().find(|object| object.name() == name) {
                open.extend(object.reads());
                found.extend(match object {
                    Object::Function(function) => Some(*function),
                    Object::View(_) => None,
                });
            }
        }
        found
    }

    /// A table by name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// What comes of reading these relations at a level.
    pub fn reading(&self, subject: usize, level: Level, reads: &[String]) -> Reading {
        reads
            .iter()
            .map(|name| self.reading_one(subject, level, name))
            .max()
            .unwrap_or(Reading::Works)
    }

    fn reading_one(&self, subject: usize, level: Level, name: &str) -> Reading {
        if let Some(table) = self.table(name) {
            let hidden = self.decision(subject, level.reader, table).hidden;
            return if hidden { Reading::Refused } else { Reading::Works };
        }
        let Some(object) = self.objects().into_iter().find(|object| object.name() == name) else {
            return Reading::Works;
        };
        let inside = self.reading(subject, self.inside(object, level), object.reads());
        match object {
            Object::View(view) if self.view_decision(subject, level.reader, view).hidden => Reading::Refused,
            // A function refuses when it is called, and not every plan calls it.
            Object::Function(_) if inside == Reading::Refused => Reading::Unclear,
            _ => inside,
        }
    }

    /// The relations as a subject sees them.
    pub fn relations(&self, subject: usize) -> Vec<Rel> {
        let mut all = Vec::new();
        for table in &self.tables {
            let decision = self.decision(subject, Rights::Of(subject), table);
            let (shown, denied): (Vec<_>, Vec<_>) = table.live().partition(|c| !decision.denied.contains(&c.name));
            let inherits = matches!(table.shape, Shape::Parent | Shape::Child);
            let stored = !matches!(table.shape, Shape::Materialized(_));
            all.push(Rel {
                sql: ident(&table.name),
                name: table.name.clone(),
                columns: shown.iter().map(|column| (ident(&column.name), column.ty)).collect(),
                can: Abilities {
                    table: stored,
                    only: inherits,
                    key: visible_key(self, subject, table),
                    whole_row: true,
                    function: false,
                },
                denied: denied.iter().map(|column| (ident(&column.name), column.ty)).collect(),
                hidden: decision.hidden,
                refused: false,
            });
        }
        let level = Level::top(subject);
        for view in &self.views {
            let reading = self.reading(subject, self.inside(Object::View(view), level), &view.reads);
            if reading == Reading::Unclear {
                continue;
            }
            let decision = self.view_decision(subject, level.reader, view);
            let gone = |name: &str| decision.denied.contains(&unquoted(name));
            let (denied, shown): (Vec<_>, Vec<_>) = view.columns.iter().cloned().partition(|(name, _)| gone(name));
            all.push(Rel {
                sql: view.name.clone(),
                name: view.name.clone(),
                columns: shown,
                can: Abilities {
                    whole_row: true,
                    ..Abilities::default()
                },
                denied,
                hidden: decision.hidden,
                refused: reading == Reading::Refused,
            });
        }
        for function in &self.functions {
            let inside = self.inside(Object::Function(function), level);
            if self.reading(subject, inside, &function.reads) != Reading::Works {
                continue;
            }
            all.push(Rel {
                sql: format!("{}()", function.name),
                name: function.name.clone(),
                columns: function.columns.clone(),
                denied: Vec::new(),
                hidden: false,
                refused: false,
                can: Abilities {
                    whole_row: function.columns.len() > 1,
                    function: true,
                    ..Abilities::default()
                },
            });
        }
        all.retain(|rel| rel.hidden || !rel.columns.is_empty());
        all
    }

    /// The statements that build the tables, views and functions.
    pub fn build(&self) -> Vec<String> {
        let mut all = vec![
            format!("CREATE SCHEMA {SCHEMA}"),
            format!("GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC"),
        ];
        for user in &self.users {
            all.push(format!("CREATE ROLE {} LOGIN", user.name));
        }
        for role in self.roles.iter().filter(|role| role.group) {
            all.push(format!("CREATE ROLE {}", role.name));
            let members = self.users.iter().filter(|user| user.groups.contains(&role.name));
            all.extend(members.map(|user| format!("GRANT {} TO {}", role.name, user.name)));
        }
        all.extend(self.tables.iter().flat_map(Table::ddl));
        all.extend(self.tables.iter().flat_map(Table::fill));
        all.extend(
            self.objects()
                .iter()
                .map(|object| governed(&object.ddl(SCHEMA, SCHEMA))),
        );
        all.push(format!("GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO PUBLIC"));
        for view in &self.views {
            if let Some(owner) = view.owner {
                all.push(format!(
                    "ALTER VIEW {SCHEMA}.{} OWNER TO {}",
                    view.name, self.users[owner].name
                ));
            }
        }
        for (table, owner) in &self.owners {
            all.push(format!(
                "ALTER TABLE {} OWNER TO {}",
                self.tables[*table].qualified(),
                self.users[*owner].name
            ));
        }
        all
    }

    /// The statements that make users, roles and policies known to the extension.
    pub fn govern(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (key, kind, default) in definitions() {
            let default = default.map(|value| format!(", default_value => {}::jsonb", quote(value.json())));
            all.push(format!(
                "SELECT betweenrows.define_attribute('{key}', '{kind}'{})",
                default.unwrap_or_default()
            ));
        }
        for role in &self.roles {
            all.push(format!("SELECT betweenrows.create_role({})", quote(&role.name)));
            for parent in &role.parents {
                all.push(format!(
                    "SELECT betweenrows.add_parent({}, {})",
                    quote(&role.name),
                    quote(parent)
                ));
            }
            if !role.active {
                all.push(format!(
                    "SELECT betweenrows.alter_role({}, is_active => false)",
                    quote(&role.name)
                ));
            }
        }
        for user in self.users.iter().filter(|user| user.registered) {
            let attributes: Vec<String> = user
                .attributes
                .iter()
                .map(|(key, value)| format!("\"{key}\": {}", value.json()))
                .collect();
            all.push(format!(
                "SELECT betweenrows.create_user({}, attributes => {}::jsonb)",
                quote(&user.name),
                quote(format!("{{{}}}", attributes.join(", ")))
            ));
            for role in &user.roles {
                all.push(format!(
                    "SELECT betweenrows.add_member({}, {})",
                    quote(role),
                    quote(&user.name)
                ));
            }
        }
        all.extend(self.policies.iter().flat_map(Policy::install));
        let mode = if self.policy_required {
            "policy_required"
        } else {
            "open"
        };
        all.push(format!("SELECT betweenrows.set_access_mode('{mode}')"));
        all
    }
}

fn roles(dice: &mut Dice, prefix: &str) -> Vec<Role> {
    let mut all: Vec<Role> = Vec::new();
    for number in 1..=dice.between(2, 4) {
        let parents = all
            .iter()
            .map(|role| role.name.clone())
            .filter(|_| dice.chance(35))
            .collect();
        let name = format!("{prefix}_role{number}");
        all.push(Role {
            name,
            active: dice.chance(85),
            parents,
            group: dice.chance(30),
        });
    }
    all
}

fn users(dice: &mut Dice, prefix: &str, roles: &[Role]) -> Vec<User> {
    let mut all = Vec::new();
    for number in 1..=3 {
        let registered = number == 1 || dice.chance(85);
        let mut user = User {
            name: format!("{prefix}_u{number}"),
            registered,
            attributes: Default::default(),
            roles: Vec::new(),
            groups: Vec::new(),
        };
        if registered {
            for (key, _, _) in definitions() {
                if dice.chance(75) {
                    user.attributes.insert(key, attribute(dice, key));
                }
            }
            user.roles = roles
                .iter()
                .map(|role| role.name.clone())
                .filter(|_| dice.chance(35))
                .collect();
        }
        user.groups = roles
            .iter()
            .filter(|role| role.group)
            .map(|role| role.name.clone())
            .filter(|_| dice.chance(40))
            .collect();
        all.push(user);
    }
    all
}

/// A name as the catalog has it.
pub fn unquoted(name: &str) -> String {
    name.trim_matches('"').replace("\"\"", "\"")
}
