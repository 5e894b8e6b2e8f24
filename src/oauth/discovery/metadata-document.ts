import * as v from 'valibot';
import { InvalidResponseError } from '../../errors.ts';
import { type RequestOptions, send } from '../../http/request.ts';
import { quote } from '../../quote.ts';
import { jsonObject } from '../json-object.ts';
import { checkServerUp } from '../protocol-error.ts';

/** `scopes_supported`, in both kinds of metadata. */
export const Scopes = v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(256))), v.maxLength(1000)));

/**
 * Fetches the metadata document at a well-known URL.
 *
 * @returns `undefined` if there is no document (any status but 200, or an HTML page)
 * @throws NetworkError when the server answers 5xx or 429; what `send` throws
 * @throws InvalidResponseError when the response is not such a document
 */
export async function metadataDocument<Document extends v.GenericSchema>(
  address: string,
  schema: Document,
  options: RequestOptions,
): Promise<v.InferOutput<Document> | undefined> {
  const response = await send(address, {
    ...options,
    method: 'GET',
    headers: { accept: 'application/json', 'mcp-protocol-version': '2026-07-28' },
  });
  checkServerUp(response, quote(new URL(address).host));
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || /html/i.test(type)) return undefined;
  const wrong = (why: string) =>
    new InvalidResponseError(`What ${quote(address)} answers is ${why}.`, {
      hint: 'Check the URL of the MCP server. If it is right, tell who runs it.',
    });
  const { object, problem } = jsonObject(response.body);
  if (object === undefined) throw wrong(problem);
  const parsed = v.safeParse(schema, object);
  if (parsed.success) return parsed.output;
  const members = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
  throw wrong(`not the metadata that it should be (wrong: ${members.join(', ')})`);
}
