import type { Command } from './command.ts';
import { COMPLETION } from './specs/completion.ts';
import { CONFIGURE } from './specs/configure.ts';
import { DOCTOR } from './specs/doctor.ts';
import { EXPORT } from './specs/export.ts';
import { HEADERS } from './specs/headers.ts';
import { IMPORT } from './specs/import.ts';
import { KEY } from './specs/key.ts';
import { LIST } from './specs/list.ts';
import { LOGIN } from './specs/login.ts';
import { LOGOUT } from './specs/logout.ts';
import { PROXY } from './specs/proxy.ts';
import { RECEIVE } from './specs/receive.ts';
import { REFRESHER } from './specs/refresher.ts';
import { REKEY } from './specs/rekey.ts';
import { RUN } from './specs/run.ts';
import { SEND } from './specs/send.ts';
import { STORE } from './specs/store.ts';
import { TOKEN } from './specs/token.ts';

/*
 * The table of all commands, in the order of the overview. Parser, help, completion and documentation read it. A
 * command's code loads when the command runs.
 */

export const COMMANDS: readonly Command[] = [
  LOGIN,
  LIST,
  TOKEN,
  HEADERS,
  RUN,
  PROXY,
  CONFIGURE,
  LOGOUT,
  SEND,
  RECEIVE,
  IMPORT,
  EXPORT,
  REKEY,
  KEY,
  STORE,
  REFRESHER,
  DOCTOR,
  COMPLETION,
];
