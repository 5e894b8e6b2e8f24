import { describe, expect, test } from 'vitest';
import { type Incoming, type Message, readMessage } from '../../src/proxy/relay/message.ts';
import { RequestHeaders } from '../../src/proxy/upstream/request-headers.ts';

const VERSION = '2026-07-28';

function listed(properties: object, rest: object = {}): Incoming {
  const tools = [{ name: 'tool', inputSchema: { type: 'object', properties, ...rest } }];
  return readMessage(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { tools } })) as Incoming;
}

function called(given: object, name = 'tool'): Message {
  const request = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: given } };
  return readMessage(JSON.stringify(request))?.messages[0] as Message;
}

describe('request headers', () => {
  test('sends the revision, the method and the name as headers', () => {
    expect(new RequestHeaders().of(called({}), VERSION)).toEqual({
      'mcp-protocol-version': VERSION,
      'mcp-method': 'tools/call',
      'mcp-name': 'tool',
    });
  });

  test.each([
    ['plain', 'plain'],
    [' with white space ', '=?base64?IHdpdGggd2hpdGUgc3BhY2Ug?='],
    ['grün', '=?base64?Z3LDvG4=?='],
    ['', '=?base64??='],
    ['=?base64?eA==?=', '=?base64?PT9iYXNlNjQ/ZUE9PT89?='],
    ['a\r\nx: y', '=?base64?YQ0KeDogeQ==?='],
  ])('encodes the name %j as %j', (name, expected) => {
    expect(new RequestHeaders().of(called({}, name), VERSION)['mcp-name']).toBe(expected);
  });

  test('sends the declared parameters as headers, at any depth, when they are given', () => {
    const headers = new RequestHeaders();
    const region = { type: 'string', 'x-mcp-header': 'Region' };
    const nested = { type: 'object', properties: { size: { type: 'integer', 'x-mcp-header': 'Size' } } };
    const dry = { type: 'boolean', 'x-mcp-header': 'Dry-Run' };
    expect(headers.learn(listed({ region, nested, dry }))).toEqual([]);
    expect(headers.of(called({ region: 'eu', nested: { size: 3 }, dry: false }), VERSION)).toMatchObject({
      'mcp-param-region': 'eu',
      'mcp-param-size': '3',
      'mcp-param-dry-run': 'false',
    });
    const few = headers.of(called({ region: null, nested: { size: 2 ** 60 } }), VERSION);
    expect(Object.keys(few).filter((name) => name.startsWith('mcp-param'))).toEqual([]);
  });
});

describe('invalid header declarations', () => {
  const good = { type: 'string', 'x-mcp-header': 'Good' };
  test.each<[string, object, object?]>([
    ['a header without a name', { a: { type: 'string', 'x-mcp-header': '' } }],
    ['a header that none can be', { a: { type: 'string', 'x-mcp-header': 'a b' } }],
    ['one that is no text', { a: { type: 'string', 'x-mcp-header': 1 } }],
    ['one for a number', { a: { type: 'number', 'x-mcp-header': 'A' } }],
    ['one for an object', { a: { type: 'object', 'x-mcp-header': 'A' } }],
    ['the same one twice', { a: good, b: { ...good, 'x-mcp-header': 'GOOD' } }],
    ['one within a list', { a: { type: 'array', items: good } }],
    ['one within a choice', { a: { anyOf: [{ type: 'object', properties: { b: good } }] } }],
    ['one in a definition', { a: { type: 'string' } }, { $defs: { x: good } }],
  ])('excludes a tool by its header declaration: %s', (_, properties, rest) => {
    const headers = new RequestHeaders();
    expect(headers.learn(listed(properties, rest))).toEqual(['tool']);
    expect(headers.learn(listed({ a: good }))).toEqual([]);
  });

  test('accepts a tool with a parameter named x-mcp-header, or a default like it', () => {
    const properties = { 'x-mcp-header': { type: 'number' }, a: { default: { 'x-mcp-header': '' } } };
    expect(new RequestHeaders().learn(listed(properties))).toEqual([]);
  });
});
