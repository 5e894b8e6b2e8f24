import {
  Client,
  type ElicitRequest,
  type ElicitResult,
  ProtocolError,
  SdkError,
  SdkErrorCode,
  type Tool,
  type Transport,
} from '@modelcontextprotocol/client';

/* What the clients under test have in common: what the suite hands them, and what they do with a server. */

/** What the suite expects where a server takes a Client ID Metadata Document; it never fetches it. */
export const CLIENT_METADATA_URL = 'https://conformance-test.local/client-metadata.json';

/** What the suite hands over, by scenario: a client, a key, tokens of others, the calls to make. */
interface Context {
  readonly client_id?: string;
  readonly client_secret?: string;
  readonly issuer?: string;
  readonly private_key_pem?: string;
  readonly idp_client_id?: string;
  readonly idp_id_token?: string;
  readonly idp_issuer?: string;
  readonly idp_token_endpoint?: string;
  readonly valid_jwt?: string;
  readonly toolCalls?: readonly Call[];
}

interface Call {
  readonly name: string;
  readonly arguments: Record<string, unknown>;
}

export const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Context;
export const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';

/**
 * Takes note of what the server offers, uses each tool, and the first resource and the first prompt, and leaves.
 *
 * @returns the names of the tools
 * @throws what the SDK throws when the server cannot be reached or used
 */
export async function use(transport: Transport): Promise<readonly string[]> {
  const client = new Client(
    { name: 'holdfast-conformance', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: { applyDefaults: true } } },
      versionNegotiation: { mode: 'auto' },
    },
  );
  client.setRequestHandler('elicitation/create', agree);
  await client.connect(transport);
  const names: string[] = [];
  try {
    const { tools, resources, prompts } = client.getServerCapabilities() ?? {};
    if (tools !== undefined) {
      const list = (await client.listTools()).tools;
      names.push(...list.map(({ name }) => name));
      const calls =
        context.toolCalls ?? list.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool, list) }));
      for (const call of calls) await answered(`The tool ${call.name}`, client.callTool(call));
    }
    if (resources !== undefined) {
      const [first] = (await client.listResources()).resources;
      if (first !== undefined) await answered(first.uri, client.readResource({ uri: first.uri }));
    }
    if (prompts !== undefined) {
      const [first] = (await client.listPrompts()).prompts;
      if (first !== undefined) await answered(first.name, client.getPrompt({ name: first.name }));
    }
  } finally {
    await client.close();
  }
  return names;
}

/** A server that answers with an error, or with what the protocol does not know, has answered: that is for whoever called the tool, and the next one may work. */
async function answered(what: string, call: Promise<unknown>): Promise<void> {
  try {
    const result = await call;
    if (isRefusal(result)) process.stderr.write(`${what}: ${JSON.stringify(result.content)}\n`);
  } catch (error) {
    // The SDK refuses, for the caller, a result that is none.
    const refused = error instanceof SdkError && error.code === SdkErrorCode.InvalidResult;
    if (!(error instanceof ProtocolError) && !refused) throw error;
    process.stderr.write(`${what}: ${error.message}\n`);
  }
}

/** A tool that says of its own result that it is an error. */
function isRefusal(result: unknown): result is { readonly content: unknown } {
  return typeof result === 'object' && result !== null && 'isError' in result && result.isError === true;
}

/** The person at the form: agrees, and leaves what has a default as it is. */
function agree({ params }: ElicitRequest): ElicitResult {
  if (!('requestedSchema' in params)) return { action: 'decline' };
  const content: Record<string, string | number | boolean> = {};
  for (const [name, property] of Object.entries(params.requestedSchema.properties)) {
    if (property.type === 'boolean' && property.default === undefined) content[name] = true;
  }
  return { action: 'accept', content };
}

/** Something of the right type for each argument; the object that is at hand is a schema that was just read. */
function argumentsFor({ inputSchema }: Tool, tools: readonly Tool[]): Record<string, unknown> {
  const samples: Readonly<Record<string, unknown>> = {
    string: 'text',
    integer: 1,
    number: 1.5,
    boolean: true,
    array: [],
    object: tools[0]?.inputSchema,
  };
  const properties = Object.entries(inputSchema.properties ?? {}) as [string, { type?: unknown }][];
  return Object.fromEntries(
    properties.flatMap(([name, { type }]) =>
      typeof type === 'string' && type in samples ? [[name, samples[type]]] : [],
    ),
  );
}
