//! An `OpenAPI` description as HTML. Pure.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// Text that cannot be taken for markup.
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

fn text<'a>(value: &'a Value, name: &str) -> Escaped<'a> {
    Escaped(value[name].as_str().unwrap_or_default())
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The whole page.
pub(super) fn write(description: &Value, style: &str) -> String {
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
         <p>The same for programs: <a href=\"openapi.json\">openapi.json</a>.</p>",
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
            "<details id=\"{0}\"><summary><code>{0}</code> {1}</summary>",
            Escaped(name),
            text(schema, "description")
        )?;
        json(schema, out)?;
        write!(out, "</details>")?;
    }
    writeln!(out, "</body></html>")
}

fn operations(description: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    entries(&description["paths"])
        .flat_map(|(path, item)| entries(item).map(move |(method, call)| (path, method, call)))
}

fn call(path: &str, method: &str, operation: &Value, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<details id=\"{id}\"><summary><b>{method}</b> <code>{path}</code> {summary}</summary><p>{words}</p>",
        id = text(operation, "operationId"),
        method = Escaped(&method.to_ascii_uppercase()),
        path = Escaped(path),
        summary = text(operation, "summary"),
        words = text(operation, "description"),
    )?;
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
    write!(out, "</details>")
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
            text(parameter, "name"),
            text(parameter, "in"),
            text(parameter, "description"),
            Escaped(&parameter["schema"].to_string()),
        )?;
    }
    write!(out, "</table>")
}

/// Media types with their schemas; problems by their types, shapes by a link.
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
    write!(out, "<pre>{}</pre>", Escaped(&format!("{value:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_is_said_becomes_markup() {
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
