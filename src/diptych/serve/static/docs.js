// The API for people, from openapi.json.

import { $, h } from "./dom.js";

/** Text in which `code` is marked as people write it. */
const rich = (text) => text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));

const METHODS = ["get", "post", "patch", "put", "delete"];

function follow(spec, schema) {
  if (!schema?.$ref) return schema ?? {};
  return follow(spec, spec.components.schemas[schema.$ref.split("/").pop()]);
}

/** A schema in few words: "text", "list of Term", … */
function kind(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return [...new Set(schema.anyOf.map(kind))].filter((one) => one !== "null").join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  return { string: schema.format === "binary" ? "file" : "text", integer: "whole number", number: "number", boolean: "true or false", object: "object", null: "null" }[schema.type] ?? "anything";
}

function limits(schema) {
  const told = { minLength: "at least", maxLength: "at most", minimum: "from", maximum: "to", pattern: "pattern", default: "default", maxItems: "at most", minItems: "at least" };
  const inner = schema.anyOf?.find((one) => one.type !== "null") ?? schema;
  return Object.entries(told).filter(([key]) => (schema[key] ?? inner[key]) !== undefined && (schema[key] ?? inner[key]) !== null)
    .map(([key, word]) => `${word} ${JSON.stringify(schema[key] ?? inner[key])}`).join(", ");
}

function table(rows) {
  return h("table", {}, h("tbody", {}, ...rows.map(([name, type, about]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), h("td", {}, type), h("td", { class: "quiet" }, ...rich(about))))));
}

function fields(spec, schema) {
  const whole = follow(spec, schema);
  const needed = new Set(whole.required ?? []);
  return table(Object.entries(whole.properties ?? {}).map(([name, one]) => [
    name + (needed.has(name) ? " *" : ""), kind(one), [follow(spec, one).description ?? one.description, limits(one)].filter(Boolean).join(" · ")]));
}

function operation(spec, path, method, one) {
  const inside = h("div", { class: "inside" }, h("p", {}, ...rich(one.description ?? "")));
  if (one.parameters?.length) {
    inside.append(h("h3", {}, "Parameters"), table(one.parameters.map((p) => [p.name + (p.required ? " *" : ""), kind(p.schema), [p.description, limits(p.schema)].filter(Boolean).join(" · ")])));
  }
  for (const [type, body] of Object.entries(one.requestBody?.content ?? {})) {
    inside.append(h("h3", {}, `Body (${type})`), fields(spec, body.schema));
  }
  const good = Object.entries(one.responses).find(([status]) => status.startsWith("2"));
  const schema = good?.[1].content?.["application/json"]?.schema;
  if (schema) inside.append(h("h3", {}, "Answer"), fields(spec, schema));
  const others = Object.keys(one.responses).filter((status) => !status.startsWith("2")).join(", ");
  inside.append(h("p", { class: "quiet" }, `Errors (code, message, hint, request_id): ${others}`));
  inside.append(h("pre", {}, example(spec, path, method, one)));
  return h("details", {}, h("summary", {}, h("b", {}, method.toUpperCase()), h("code", {}, path), h("span", { class: "quiet" }, one.summary ?? "")), inside);
}

/** A body to start from: the examples, and what is needed. */
function sample(spec, schema) {
  const whole = follow(spec, schema);
  const given = schema.examples?.[0] ?? whole.examples?.[0] ?? whole.anyOf?.find((part) => part.examples)?.examples[0];
  if (given !== undefined) return given;
  if (!whole.properties) return kind(schema).startsWith("text") ? "…" : [];
  const needed = whole.required ?? [];
  const shown = Object.entries(whole.properties).filter(([name, one]) => needed.includes(name) || (one.examples && name !== "language"));
  const first = Object.entries(whole.properties).slice(0, 1);
  return Object.fromEntries((shown.length ? shown : first).map(([name, one]) => [name, sample(spec, one)]));
}

function example(spec, path, method, one) {
  const url = `${location.origin}${path}`;
  const content = one.requestBody?.content ?? {};
  if ("multipart/form-data" in content) {
    const whole = follow(spec, content["multipart/form-data"].schema);
    return `curl '${url}' -F ${"files" in whole.properties ? "files" : "file"}=@image.jpg`;
  }
  if (!("application/json" in content)) return `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${url}'`;
  const shown = sample(spec, content["application/json"].schema);
  return `curl ${method === "post" ? "" : `-X ${method.toUpperCase()} `}'${url}' \\\n  -H 'Content-Type: application/json' -d '${JSON.stringify(shown)}'`;
}

const spec = await (await fetch("/openapi.json")).json();
$("docs").append(...spec.info.description.split("\n\n").map((text) => h("p", {}, ...rich(text))));
const groups = new Map();
for (const [path, item] of Object.entries(spec.paths)) {
  for (const method of METHODS.filter((name) => name in item)) {
    const group = item[method].tags?.[0] ?? "other";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(operation(spec, path, method, item[method]));
  }
}
for (const [name, operations] of groups) $("docs").append(h("h2", {}, name), ...operations);
document.documentElement.dataset.ready = "true";
