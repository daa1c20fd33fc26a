//! Where each value of a text stands, from the events of a parser, and the budgets that keep hostile texts harmless.
//!
//! The tree holds no values, only bytes. An alias is the node of its anchor, so that a pointer through it leads to the
//! text that a person would mend.

use std::{collections::HashMap, ops::Range};

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{
    super::diagnostic::Finding,
    MOST_ALIASED, MOST_DEPTH,
    slips::{self, line_from},
};

/// The places of all values of a text.
#[derive(Debug)]
pub struct Places {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Debug)]
struct Node {
    span: Range<usize>,
    children: Children,
}

#[derive(Debug)]
enum Children {
    None,
    /// By key: where the key stands, and the value.
    Map(IndexMap<String, (Range<usize>, usize)>),
    List(Vec<usize>),
}

/// Reads the places of a text that holds one document.
pub fn read(text: &str) -> Result<Places, Vec<Finding>> {
    let mut builder = Builder::new(text);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(&event, span),
            Err(error) => {
                let at = builder.byte(error.marker().index());
                Err(slips::explain(text, at, error.info()).into())
            }
        };
        if let Err(fatal) = step {
            builder.findings.push(*fatal);
            return Err(builder.findings);
        }
    }
    // A document without content is a value without extent.
    let root = builder.root.filter(|root| !builder.nodes[*root].span.is_empty());
    match root {
        Some(root) if builder.findings.is_empty() => Ok(Places {
            nodes: builder.nodes,
            root,
        }),
        None if builder.findings.is_empty() => Err(vec![
            Finding::error(line_from(text, 0), "empty", "the file is empty")
                .expected("a job, with at least `tasks`")
                .hint("begin with `tasks: {main: {command: [echo, hello]}}`"),
        ]),
        Some(_) | None => Err(builder.findings),
    }
}

impl Places {
    /// The bytes of the whole document's first line.
    pub fn root(&self, text: &str) -> Range<usize> {
        line_of(text, self.nodes[self.root].span.clone())
    }

    /// See [`super::Document::place`].
    pub fn find(&self, text: &str, pointer: &str, at_key: bool) -> Range<usize> {
        let mut node = self.root;
        let mut key: Option<&Range<usize>> = None;
        let mut at_key = at_key;
        for segment in segments(pointer) {
            let next = match &self.nodes[node].children {
                Children::None => None,
                Children::Map(map) => map.get(&segment).map(|(key, child)| (Some(key), *child)),
                Children::List(items) => segment
                    .parse()
                    .ok()
                    .and_then(|i: usize| items.get(i))
                    .map(|child| (None, *child)),
            };
            let Some((next_key, child)) = next else {
                at_key = false;
                break;
            };
            node = child;
            key = next_key;
        }
        let span = trimmed(text, &self.nodes[node].span);
        let is_block =
            !matches!(self.nodes[node].children, Children::None) && !text[span.clone()].starts_with(['[', '{']);
        match key {
            Some(key) if at_key || is_block || span.is_empty() || text[span.clone()].contains('\n') => key.clone(),
            Some(_) | None => line_of(text, span),
        }
    }

    /// See [`super::Document::keys`].
    pub fn keys(&self, pointer: &str) -> Vec<&str> {
        let mut node = self.root;
        for segment in segments(pointer) {
            match &self.nodes[node].children {
                Children::Map(map) => match map.get(&segment) {
                    Some((_, child)) => node = *child,
                    None => return Vec::new(),
                },
                Children::None | Children::List(_) => return Vec::new(),
            }
        }
        match &self.nodes[node].children {
            Children::Map(map) => map.keys().map(String::as_str).collect(),
            Children::None | Children::List(_) => Vec::new(),
        }
    }
}

fn segments(pointer: &str) -> impl Iterator<Item = String> {
    pointer
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

/// Without the blanks at both ends: a parser's plain scalars and collections may end on the next line.
fn trimmed(text: &str, span: &Range<usize>) -> Range<usize> {
    let part = &text[span.clone()];
    let start = span.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

/// The first line of a span.
fn line_of(text: &str, span: Range<usize>) -> Range<usize> {
    let end = text[span.clone()].find('\n').map_or(span.end, |i| span.start + i);
    trimmed(text, &(span.start..end))
}

/// An open map or list.
struct Frame {
    node: usize,
    anchor: usize,
    /// In a map, the key whose value comes next.
    key: Option<(String, Range<usize>)>,
    weight: Weight,
}

/// How much a value would be if its aliases were written out.
#[derive(Clone, Copy)]
struct Weight {
    nodes: usize,
    depth: usize,
}

struct Builder<'a> {
    text: &'a str,
    /// The byte of each character, if they differ: the parser counts characters.
    bytes: Option<Vec<usize>>,
    nodes: Vec<Node>,
    root: Option<usize>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (usize, Weight)>,
    aliased: usize,
    findings: Vec<Finding>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(i, _)| i).collect());
        Self {
            text,
            bytes,
            nodes: Vec::new(),
            root: None,
            frames: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            findings: Vec::new(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        match &self.bytes {
            None => character.min(self.text.len()),
            Some(bytes) => bytes.get(character).copied().unwrap_or(self.text.len()),
        }
    }

    /// Takes one event. An error is one after which the rest of the text cannot be trusted.
    fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), Box<Finding>> {
        let start = self.byte(span.start.index());
        let span = start..self.byte(span.end.index()).max(start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => Err(Finding::error(
                line_from(self.text, span.start),
                "several-documents",
                "a second document begins here",
            )
            .expected("one job in one file")
            .hint("move it into a file of its own")
            .into()),
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => self.alias(*anchor, span),
            Event::Scalar(value, style, anchor, tag) => {
                if tag.is_some() {
                    return Err(tagged(span).into());
                }
                self.scalar(value, *style, *anchor, span)
            }
            Event::SequenceStart(anchor, tag) => self.open(*anchor, tag.is_some(), span, Children::List(Vec::new())),
            Event::MappingStart(anchor, tag) => self.open(*anchor, tag.is_some(), span, Children::Map(IndexMap::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(&span);
                Ok(())
            }
        }
    }

    /// Whether what comes next is a key.
    fn wants_key(&self) -> bool {
        self.frames
            .last()
            .is_some_and(|frame| frame.key.is_none() && matches!(self.nodes[frame.node].children, Children::Map(_)))
    }

    fn scalar(
        &mut self,
        value: &str,
        style: ScalarStyle,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), Box<Finding>> {
        if self.wants_key() {
            return self.key(value, style, span);
        }
        let plain = matches!(style, ScalarStyle::Plain);
        if plain && is_not_finite(value) {
            self.findings.push(
                Finding::error(
                    span.clone(),
                    "not-a-number",
                    format!("`{value}` is not a number that can be used"),
                )
                .expected("a finite number, or a text in quotes")
                .hint("write it in quotes if it is a text"),
            );
        }
        let node = self.push(span, Children::None);
        let weight = Weight { nodes: 1, depth: 0 };
        self.done(node, anchor, weight);
        Ok(())
    }

    fn key(&mut self, key: &str, style: ScalarStyle, span: Range<usize>) -> Result<(), Box<Finding>> {
        if key == "<<" && matches!(style, ScalarStyle::Plain) {
            return Err(
                Finding::error(span, "merge-key", "merge keys (`<<`) are not part of YAML 1.2")
                    .expected("a key of Petit")
                    .hint("write what several tasks share into `defaults`, or repeat it")
                    .into(),
            );
        }
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        if let Children::Map(map) = &self.nodes[frame.node].children
            && let Some((first, _)) = map.get(key)
        {
            let mut finding = Finding::error(span.clone(), "duplicate-key", format!("`{key}` is given twice"))
                .expected("each key once")
                .hint("remove one of the two, or put their values together");
            finding
                .related
                .push((format!("`{key}` is first given here"), first.clone()));
            self.findings.push(finding);
        }
        frame.key = Some((key.to_owned(), span));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Box<Finding>> {
        if self.wants_key() {
            return Err(complex_key(span).into());
        }
        let Some(&(node, weight)) = self.anchors.get(&anchor) else {
            // The parser knows every anchor by now, so this one is still open.
            return Err(
                Finding::error(span, "alias-in-itself", "the alias stands inside what it stands for")
                    .expected("an alias of a value that ends before it")
                    .hint("write the value out instead of the alias")
                    .into(),
            );
        };
        self.aliased += weight.nodes;
        if self.aliased > MOST_ALIASED {
            return Err(
                Finding::error(span, "too-many-aliases", "the aliases of this file stand for too much")
                    .expected(format!("at most {MOST_ALIASED} values through aliases"))
                    .hint("write out what is meant; keep large data in files of its own")
                    .into(),
            );
        }
        if self.frames.len() + weight.depth > MOST_DEPTH {
            return Err(too_deep(span).into());
        }
        self.attach(node, weight);
        Ok(())
    }

    fn open(
        &mut self,
        anchor: usize,
        has_tag: bool,
        span: Range<usize>,
        children: Children,
    ) -> Result<(), Box<Finding>> {
        if has_tag {
            return Err(tagged(span).into());
        }
        if self.wants_key() {
            return Err(complex_key(line_from(self.text, span.start)).into());
        }
        if self.frames.len() >= MOST_DEPTH {
            return Err(too_deep(span).into());
        }
        let node = self.push(span, children);
        self.frames.push(Frame {
            node,
            anchor,
            key: None,
            weight: Weight { nodes: 1, depth: 1 },
        });
        Ok(())
    }

    fn close(&mut self, end: &Range<usize>) {
        let Some(frame) = self.frames.pop() else { return };
        let span = &mut self.nodes[frame.node].span;
        // The end of a collection in brackets reaches to the next token, past a comment.
        let bracket = self.text.as_bytes().get(end.start).filter(|byte| b"]}".contains(byte));
        let is_flow = self
            .text
            .as_bytes()
            .get(span.start)
            .is_some_and(|byte| b"[{".contains(byte));
        span.end = match bracket {
            Some(_) if is_flow => end.start + 1,
            Some(_) | None => end.end.max(span.end),
        };
        self.done(frame.node, frame.anchor, frame.weight);
    }

    fn push(&mut self, span: Range<usize>, children: Children) -> usize {
        self.nodes.push(Node { span, children });
        self.nodes.len() - 1
    }

    fn done(&mut self, node: usize, anchor: usize, weight: Weight) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node, weight));
        }
        self.attach(node, weight);
    }

    fn attach(&mut self, node: usize, weight: Weight) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.weight.nodes += weight.nodes;
        frame.weight.depth = frame.weight.depth.max(weight.depth + 1);
        match &mut self.nodes[frame.node].children {
            Children::List(items) => items.push(node),
            Children::Map(map) => {
                if let Some((key, span)) = frame.key.take() {
                    // Of a key given twice the first stays; the file is refused anyway.
                    map.entry(key).or_insert((span, node));
                }
            }
            Children::None => {}
        }
    }
}

fn is_not_finite(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&unsigned)
}

fn tagged(span: Range<usize>) -> Finding {
    Finding::error(span, "yaml-tag", "tags such as `!!str` are not used in Petit's files")
        .expected("a plain value")
        .hint("remove the tag; a text that looks like a number, or begins with `!`, is written in quotes")
}

fn complex_key(span: Range<usize>) -> Finding {
    Finding::error(span, "yaml-key", "a list, a map or an alias cannot be a key")
        .expected("a key of plain text")
        .hint("put a value that begins with `{`, `[` or `*` in quotes")
}

fn too_deep(span: Range<usize>) -> Finding {
    Finding::error(
        span.start..span.start + 1,
        "too-deep",
        "lists and maps are nested too deep here",
    )
    .expected(format!("at most {MOST_DEPTH} levels"))
    .hint("flatten it, or keep the data in a file of its own")
}
