//! The HTML of an `OpenAPI` description. Pure.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// The extension field that marks a call as the same as another.
pub(crate) const SAME_AS: &str = "x-same-as";
/// The address of the service in examples: the default.
const SERVER: &str = "http://127.0.0.1:8080";

/// Text with markup escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Text in which backticks mark code.
struct Prose<'a>(&'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.0.split('`');
        if let Some(first) = parts.next() {
            Escaped(first).fmt(f)?;
        }
        while let Some(code) = parts.next() {
            write!(f, "<code>{}</code>", Escaped(code))?;
            if let Some(words) = parts.next() {
                Escaped(words).fmt(f)?;
            }
        }
        Ok(())
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Prose<'a> {
    Prose(value[name].as_str().unwrap_or_default())
}

/// Returns a name as in a link and its target.
fn name<'a>(value: &'a Value, name: &str) -> Escaped<'a> {
    Escaped(value[name].as_str().unwrap_or_default())
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Writes the whole page.
pub(crate) fn write(description: &Value, style: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    if page(description, style, &mut out).is_err() {
        out.clear();
    }
    out
}

fn page(description: &Value, style: &str, out: &mut String) -> fmt::Result {
    let info = &description["info"];
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} {version}</title><style>{style}</style></head><body>\
         <h1>{title} {version}</h1><p>{summary}</p><p>{words}</p>\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>.</p>",
        title = text(info, "title"),
        version = text(info, "version"),
        summary = text(info, "summary"),
        words = text(info, "description"),
    )?;
    for tag in items(&description["tags"]) {
        write!(
            out,
            "<h2>{}</h2><p>{}</p>",
            text(tag, "name"),
            text(tag, "description")
        )?;
        for (path, method, operation) in operations(description) {
            if items(&operation["tags"]).any(|name| *name == tag["name"]) {
                call(path, method, operation, out)?;
            }
        }
    }
    write!(out, "<h2>Shapes</h2>")?;
    for (name, schema) in entries(&description["components"]["schemas"]) {
        write!(
            out,
            // The id is inside, because a browser opens the box around the target of a link.
            "<details><summary><code>{0}</code> {1}</summary><div id=\"{0}\">",
            Escaped(name),
            text(schema, "description")
        )?;
        json(schema, out)?;
        write!(out, "</div></details>")?;
    }
    writeln!(out, "</body></html>")
}

fn operations(description: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let all = entries(&description["paths"])
        .flat_map(|(path, item)| entries(item).map(move |(method, call)| (path, method, call)));
    // A call that is the same as another is shown once.
    all.filter(|(_, _, call)| call.get(SAME_AS).is_none())
}

fn call(path: &str, method: &str, operation: &Value, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<details><summary><b>{method}</b> <code>{path}</code> {summary}</summary>\
         <div id=\"{id}\"><p>{words}</p>",
        id = name(operation, "operationId"),
        method = Escaped(&method.to_ascii_uppercase()),
        path = Escaped(path),
        summary = text(operation, "summary"),
        words = text(operation, "description"),
    )?;
    example(path, method, operation, out)?;
    parameters(operation, out)?;
    if let Some(body) = operation.get("requestBody") {
        write!(out, "<h4>Body</h4>")?;
        content(body, out)?;
    }
    write!(out, "<h4>Answers</h4><table>")?;
    for (status, answer) in entries(&operation["responses"]) {
        write!(
            out,
            "<tr><td>{}<td>{}",
            Escaped(status),
            text(answer, "description")
        )?;
        let names = entries(&answer["headers"]).map(|(name, _)| name.as_str());
        let names: Vec<_> = names.filter(|name| *name != "X-Request-Id").collect();
        if !names.is_empty() {
            write!(out, "<br>Headers: {}", Escaped(&names.join(", ")))?;
        }
        content(answer, out)?;
    }
    write!(out, "</table>")?;
    if let Some(socket) = operation.get("x-websocket") {
        write!(out, "<h4>WebSocket</h4>")?;
        json(socket, out)?;
    }
    write!(out, "</div></details>")
}

/// Writes a line for a shell, with the first of the bodies that the call takes.
fn example(path: &str, method: &str, operation: &Value, out: &mut String) -> fmt::Result {
    let id = operation["x-example-id"].as_str().unwrap_or("demo");
    let path = path.replace("{id}", id);
    let mut line = String::from("curl");
    if !matches!(method, "get" | "post") {
        write!(line, " -X {}", method.to_ascii_uppercase())?;
    }
    write!(line, " '{SERVER}{path}'")?;
    let first = entries(&operation["requestBody"]["content"]).next();
    if let Some((kind, typed)) = first {
        write!(line, " \\\n  -H 'content-type: {kind}'")?;
        if let Some(body) = typed.get("example") {
            write!(line, " \\\n  -d '{body}'")?;
        }
    }
    write!(out, "<pre>{}</pre>", Escaped(&line))
}

fn parameters(operation: &Value, out: &mut String) -> fmt::Result {
    if items(&operation["parameters"]).next().is_none() {
        return Ok(());
    }
    write!(out, "<h4>Parameters</h4><table>")?;
    for parameter in items(&operation["parameters"]) {
        write!(
            out,
            "<tr><td><code>{}</code><td>{}<td>{}<td><code>{}</code>",
            name(parameter, "name"),
            name(parameter, "in"),
            text(parameter, "description"),
            Escaped(&parameter["schema"].to_string()),
        )?;
    }
    write!(out, "</table>")
}

/// Writes media types with their schemas: problems by their types, other shapes by a link.
fn content(of: &Value, out: &mut String) -> fmt::Result {
    for (kind, typed) in entries(&of["content"]) {
        let schema = &typed["schema"];
        write!(out, "<br><code>{}</code> ", Escaped(kind))?;
        for problem in items(&schema["properties"]["type"]["enum"]) {
            let problem = problem.as_str().unwrap_or_default();
            write!(out, "<br><code>{}</code>", Escaped(problem))?;
        }
        match schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
            Some(name) => write!(out, " <a href=\"#{0}\">{0}</a>", Escaped(name))?,
            None => write!(out, "<code>{}</code>", Escaped(&schema.to_string()))?,
        }
    }
    Ok(())
}

fn json(value: &Value, out: &mut String) -> fmt::Result {
    write!(out, "<pre>{}</pre>", Prose(&format!("{value:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_text_becomes_markup() {
        let description = json!({
            "info": {"title": "<script>", "version": "1"},
            "tags": [{"name": "a&b"}],
            "paths": {"/<b>": {"get": {"tags": ["a&b"], "operationId": "\"x\"", "responses": {}}}},
        });
        let html = write(&description, "");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"));
        assert!(html.contains("<code>/&lt;b&gt;</code>"), "{html}");
        assert!(html.contains("id=\"&quot;x&quot;\""), "{html}");
    }
}
