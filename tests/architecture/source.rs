//! The source files of the crate, parsed: their imports, and their doc comments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprLit, Field, ImplItemFn, Item, ItemFn, ItemMod, ItemUse, Lit, Meta,
    ReturnType, Signature, TraitItemFn, Type, UseTree,
    visit::{self, Visit},
};

/// The segments of a path below the crate: `["router", "registry"]`.
pub(crate) type ModulePath = Vec<String>;

/// A source file of the crate.
pub(crate) struct Source {
    pub(crate) module: ModulePath,
    /// Paths into the crate that its code names, outside of its tests.
    pub(crate) imports: BTreeSet<ModulePath>,
    /// The same for its tests.
    pub(crate) test_imports: BTreeSet<ModulePath>,
    /// The names that its `use` lines bring in, and their paths: others may reach them through it.
    pub(crate) names: BTreeMap<String, ModulePath>,
}

/// Adds every Rust file below a folder; links are not followed.
pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file of the crate but its roots.
pub(crate) fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    files.sort();
    let below = |path: &Path| path.strip_prefix("src").unwrap().with_extension("");
    let module = |path: &Path| {
        let parts = below(path);
        let parts = parts.components();
        parts
            .map(|part| part.as_os_str().to_str().unwrap().to_owned())
            .collect::<ModulePath>()
    };
    let is_root = |path: &Path| path == Path::new("src/lib.rs");
    files
        .iter()
        .filter(|path| !is_root(path))
        .map(|path| read(module(path), &fs::read_to_string(path).unwrap()))
        .collect()
}

/// Reads a file of a module.
pub(crate) fn read(module: ModulePath, text: &str) -> Source {
    let mut reader = Reader {
        here: module.clone(),
        in_tests: module.iter().any(|part| is_test_name(part)),
        source: Source {
            module,
            imports: BTreeSet::new(),
            test_imports: BTreeSet::new(),
            names: BTreeMap::new(),
        },
    };
    reader.visit_file(&syn::parse_file(text).unwrap());
    reader.source
}

fn is_test_name(name: &str) -> bool {
    name == "tests" || name.ends_with("_tests")
}

struct Reader {
    /// The module of the code that is read, inline modules included.
    here: ModulePath,
    in_tests: bool,
    source: Source,
}

impl Reader {
    /// The path from the crate's root. `None` for one that does not begin in this crate.
    fn resolved(&self, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.here.clone(),
            "super" => self.here[..self.here.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for part in rest {
            if part == "super" {
                base.pop();
            } else if part != "self" {
                base.push(part.clone());
            }
        }
        Some(base)
    }

    fn add(&mut self, path: &[String]) -> Option<ModulePath> {
        let path = self.resolved(path)?;
        let imports = if self.in_tests {
            &mut self.source.test_imports
        } else {
            &mut self.source.imports
        };
        imports.insert(path.clone());
        Some(path)
    }

    fn add_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for item in &group.items {
                    self.add_tree(item, before);
                }
            }
            UseTree::Glob(_) => {
                self.add(before);
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.add_name(before, &name, name.clone());
            }
            UseTree::Rename(rename) => {
                let shown = rename.rename.to_string();
                self.add_name(before, &rename.ident.to_string(), shown);
            }
        }
    }

    fn add_name(&mut self, before: &mut Vec<String>, name: &str, shown: String) {
        before.push(name.to_owned());
        let path = self.add(before);
        before.pop();
        if let Some(path) = path
            && self.here == self.source.module
        {
            self.source.names.insert(shown, path);
        }
    }

    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Punct(mark) if mark.as_char() == ':' => {}
                other => {
                    self.add(&path);
                    path.clear();
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.add(&path);
    }
}

/// Whether an item is there for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        let text = list.tokens.to_string();
        list.path.is_ident("cfg") && (text == "test" || text.contains("test"))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            _ => {
                visit::visit_item(self, item);
                return;
            }
        };
        let was = self.in_tests;
        self.in_tests |= is_for_tests(attributes);
        visit::visit_item(self, item);
        self.in_tests = was;
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.here.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if names.len() > 1 {
            self.add(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.add_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

/// The files to which each file's code points, resolved through re-exports.
pub(crate) fn arrows(sources: &[Source]) -> BTreeSet<(ModulePath, ModulePath)> {
    let by_module: BTreeMap<&[String], &Source> = sources
        .iter()
        .map(|source| (source.module.as_slice(), source))
        .collect();
    let mut found = BTreeSet::new();
    for source in sources {
        for path in &source.imports {
            let target = target(&by_module, path);
            if !target.is_empty() && target != source.module {
                found.insert((source.module.clone(), target));
            }
        }
    }
    found
}

/// The module in which the thing at a path lies.
fn target(by_module: &BTreeMap<&[String], &Source>, path: &[String]) -> ModulePath {
    let mut path = path.to_vec();
    // Re-exports may go over several modules.
    for _ in 0..8 {
        let deepest = (0..=path.len()).rev();
        let known = deepest
            .map(|length| &path[..length])
            .find_map(|start| by_module.get(start));
        let Some(module) = known else {
            return Vec::new();
        };
        let depth = module.module.len();
        let brought = path.get(depth).and_then(|name| module.names.get(name));
        let Some(further) = brought else {
            return module.module.clone();
        };
        let mut further = further.clone();
        further.extend_from_slice(&path[depth + 1..]);
        if further == path {
            return module.module.clone();
        }
        path = further;
    }
    path
}

/// A doc comment's first line, and whether it is of a function that returns a `bool`.
pub(crate) struct DocComment {
    pub(crate) text: String,
    pub(crate) of_predicate: bool,
}

/// The doc comments of a file.
pub(crate) fn doc_comments(text: &str) -> Vec<DocComment> {
    let mut reader = DocReader::default();
    reader.visit_file(&syn::parse_file(text).unwrap());
    reader.0
}

#[derive(Default)]
struct DocReader(Vec<DocComment>);

impl DocReader {
    fn add(&mut self, attributes: &[Attribute], of_predicate: bool) {
        let first = attributes.iter().find_map(|attribute| {
            let Meta::NameValue(pair) = &attribute.meta else {
                return None;
            };
            let Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) = &pair.value
            else {
                return None;
            };
            pair.path.is_ident("doc").then(|| DocComment {
                text: text.value().trim().to_owned(),
                of_predicate,
            })
        });
        self.0.extend(first);
    }
}

fn is_predicate(signature: &Signature) -> bool {
    let ReturnType::Type(_, returned) = &signature.output else {
        return false;
    };
    mentions_bool(returned)
}

/// Whether a type is a `bool`, or wraps one: `Result<bool, E>`, `impl Fn(…) -> bool`.
fn mentions_bool(of: &Type) -> bool {
    struct Finder(bool);
    impl Visit<'_> for Finder {
        fn visit_path(&mut self, path: &syn::Path) {
            self.0 |= path.is_ident("bool");
            visit::visit_path(self, path);
        }
    }
    let mut finder = Finder(false);
    finder.visit_type(of);
    finder.0
}

impl Visit<'_> for DocReader {
    fn visit_file(&mut self, file: &syn::File) {
        self.add(&file.attrs, false);
        visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &Item) {
        match item {
            Item::Const(item) => self.add(&item.attrs, false),
            Item::Enum(item) => self.add(&item.attrs, false),
            Item::Impl(item) => self.add(&item.attrs, false),
            Item::Macro(item) => self.add(&item.attrs, false),
            Item::Mod(item) => self.add(&item.attrs, false),
            Item::Static(item) => self.add(&item.attrs, false),
            Item::Struct(item) => self.add(&item.attrs, false),
            Item::Trait(item) => self.add(&item.attrs, false),
            Item::Type(item) => self.add(&item.attrs, false),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        self.add(&item.attrs, is_predicate(&item.sig));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &ImplItemFn) {
        self.add(&item.attrs, is_predicate(&item.sig));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &syn::ImplItemConst) {
        self.add(&item.attrs, false);
        visit::visit_impl_item_const(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &TraitItemFn) {
        self.add(&item.attrs, is_predicate(&item.sig));
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_field(&mut self, field: &Field) {
        self.add(&field.attrs, false);
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &syn::Variant) {
        self.add(&variant.attrs, false);
        visit::visit_variant(self, variant);
    }
}
