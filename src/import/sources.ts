import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { CLAUDE_CODE } from './programs/claude-code.ts';
import { CLINE } from './programs/cline.ts';
import { CODEX } from './programs/codex.ts';
import { DOCKER_AGENT } from './programs/docker-agent.ts';
import { GEMINI } from './programs/gemini.ts';
import { GOOSE } from './programs/goose.ts';
import { INSPECTOR } from './programs/inspector.ts';
import { MCP_REMOTE } from './programs/mcp-remote.ts';
import { MCPORTER } from './programs/mcporter.ts';
import { OPENCODE } from './programs/opencode.ts';
import type { Source } from './source.ts';

/** The programs whose logins can be imported. docs/interop.md lists their versions. */
export const SOURCES: readonly Source[] = [
  MCP_REMOTE,
  CLAUDE_CODE,
  CODEX,
  GEMINI,
  OPENCODE,
  GOOSE,
  CLINE,
  MCPORTER,
  INSPECTOR,
  DOCKER_AGENT,
];

/** @throws InvalidArgumentError */
export function sourceNamed(id: string): Source {
  const source = SOURCES.find((one) => one.id === id);
  if (source !== undefined) return source;
  throw new InvalidArgumentError(`${quote(id, 40)} is no program whose logins Holdfast can import.`, {
    hint: `Choose one of: ${SOURCES.map((one) => one.id).join(', ')}; or - for what holdfast export printed`,
  });
}
