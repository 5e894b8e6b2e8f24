import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import * as v from 'valibot';
import type { Handler, LoggedRequest } from '../../support/servers/hostile-server.ts';

/*
 * The tables of hostile answers are data: the answer of a server and the expected outcome. This file reads the tables and
 * builds the bytes to send. An unknown member is an error: the case would test less than its author believes.
 *
 *   {origin} {host} {port}             the server under test
 *   {elsewhere} {elsewherePort}        a second server, on this machine
 *   {code} {refresh} {verifier} {client} {secret} {password}   secrets that no error may show
 *   {access}                           the token that a good answer gives
 *   {sent} {sentBody}                  the values of the request form, and the form unchanged
 *   {sent.NAME} {sentHeader.NAME}      one member of the form, one header
 *   { "repeat": "x", "times": 3 }      the string "xxx", in any place of a string
 *   { "numbered": "x", "times": 3 }    the array "x0", "x1", "x2"
 *   { "join": ["a", …] }               the string of all its parts
 */

const Text = v.union([v.string(), v.array(v.unknown())]);

const Answer = v.strictObject({
  status: v.optional(v.number(), 200),
  headers: v.optional(v.record(v.string(), v.unknown()), {}),
  /** Members to change in the table's good document. */
  members: v.optional(v.record(v.string(), v.unknown())),
  without: v.optional(v.array(v.string()), []),
  /** The whole document. */
  json: v.optional(v.unknown()),
  /** The whole body; an array is joined. */
  text: v.optional(Text),
  encoding: v.optional(v.picklist(['utf8', 'utf16le', 'latin1']), 'utf8'),
  gzip: v.optional(v.picklist(['whole', 'cut', 'twice'])),
  /** Raw bytes instead of an HTTP response, in Latin-1: each character is one byte. */
  raw: v.optional(Text),
  /** Text to send repeatedly until the connection ends, as fast as possible or every `everyMs` milliseconds. */
  endless: v.optional(v.string()),
  everyMs: v.optional(v.number()),
});
type Answer = v.InferOutput<typeof Answer>;

const Case = v.strictObject({
  name: v.string(),
  /** Whether Holdfast sees the server as `mcp.example.com`, over TLS. */
  remote: v.optional(v.boolean(), false),
  timeoutMs: v.optional(v.number(), 20_000),
  /** The issuer that the resource names, if it is not the origin. */
  issuer: v.optional(v.string()),
  /** The step to take after discovery. */
  next: v.optional(v.picklist(['register', 'exchange'])),
  /** The answer at the table's path. */
  answer: v.optional(Answer),
  /** The answers at other paths. */
  also: v.optional(v.record(v.string(), Answer), {}),
  /** The answer of the second server. If absent, the second server must receive no request. */
  elsewhere: v.optional(Answer),
  /** Members of the client, in the tables of registrations and tokens. */
  authMethod: v.optional(v.string()),
  authMethods: v.optional(v.array(v.string())),
  /** Members of the redirect. */
  query: v.optional(Text),
  issPromised: v.optional(v.boolean(), false),
  /** An error code, `success`, or `ignored` for a redirect that does not end the login. */
  expect: v.string(),
  /** Text that the message must contain, so that the error comes from the right check. */
  says: v.optional(v.string()),
  /** Whether a refresh accepts a token response that a code exchange refuses: its tokens exist nowhere else. */
  takenAtRefresh: v.optional(v.boolean()),
  /** Members that the outcome must have, among others. */
  outcome: v.optional(v.record(v.string(), v.unknown())),
  /** Every request that is allowed, in order. */
  asked: v.optional(v.array(v.string())),
});
export type Case = v.InferOutput<typeof Case>;

export type Names = Readonly<Record<string, string>>;

export function table(file: string): readonly Case[] {
  return v.parse(v.array(Case), JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')));
}

/** Returns the value with its placeholders filled in and its repetitions written out. */
export function filled(value: unknown, names: Names): unknown {
  if (typeof value === 'string')
    return value.replace(/(?<!\$)\{([\w.]+)\}/g, (_all, name) => named(name, names));
  if (Array.isArray(value)) return value.map((item) => filled(item, names));
  if (typeof value !== 'object' || value === null) return value;
  if ('join' in value) return [filled(value.join, names)].flat().join('');
  if ('times' in value) {
    const times = Number(value.times);
    if ('repeat' in value) return String(filled(value.repeat, names)).repeat(times);
    if ('numbered' in value) {
      const text = String(filled(value.numbered, names));
      return Array.from({ length: times }, (_, i) => `${text}${i}`);
    }
  }
  // Object.fromEntries keeps a member called __proto__ as a member.
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, filled(item, names)]));
}

export function text(value: v.InferOutput<typeof Text>, names: Names): string {
  return String(filled({ join: value }, names));
}

/** Sends the answer of the case; `good` is the document that a well-behaved server sends there. */
export function handler(answer: Answer, names: Names, good: object): Handler {
  return (request, response) => {
    const known = { ...names, ...sentBy(request) };
    if (answer.raw !== undefined) {
      return void response.socket?.end(Buffer.from(text(answer.raw, known), 'latin1'));
    }
    const headers = filled(answer.headers, known) as Record<string, string | string[]>;
    response.writeHead(answer.status, { 'content-type': 'application/json', ...headers });
    if (answer.endless === undefined) return void response.end(bodyOf(answer, known, good));
    const { endless, everyMs } = answer;
    const more = () => {
      if (response.destroyed) return clearInterval(timer);
      while (response.write(endless) && everyMs === undefined);
    };
    const timer = setInterval(more, everyMs ?? 1);
    response.on('drain', more).on('close', () => clearInterval(timer));
  };
}

function bodyOf(answer: Answer, names: Names, good: object): Buffer {
  const { members, without, encoding, gzip } = answer;
  let body = '';
  if (answer.text !== undefined) body = text(answer.text, names);
  else if ('json' in answer) body = JSON.stringify(filled(answer.json, names));
  else if (members !== undefined || without.length > 0) {
    const all = [...Object.entries(good), ...Object.entries(filled(members ?? {}, names) as object)];
    body = JSON.stringify(Object.fromEntries(all.filter(([name]) => !without.includes(name))));
  }
  const bytes = Buffer.from(body, encoding);
  if (gzip === undefined) return bytes;
  const zipped = gzipSync(bytes);
  if (gzip === 'twice') return gzipSync(zipped);
  return gzip === 'cut' ? zipped.subarray(0, -10) : zipped;
}

function sentBy({ body, headers }: LoggedRequest): Names {
  const form = [...new URLSearchParams(body)];
  return {
    sent: form.map(([, value]) => value).join(' '),
    sentBody: body,
    ...Object.fromEntries(form.map(([name, value]) => [`sent.${name}`, value])),
    ...Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [`sentHeader.${name}`, String(value)]),
    ),
  };
}

function named(name: string, names: Names): string {
  const value = names[name];
  if (value === undefined) throw new Error(`The table names {${name}}, which is nothing.`);
  return value;
}
