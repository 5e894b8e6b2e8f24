import { createHash } from 'node:crypto';
import { MAX_RECORD_BYTES } from '../../sealing.ts';
import { MAX_OUTBOX_ENTRIES } from '../engine/engine.ts';

/*
 * The scripts are the steps that Redis runs atomically, by its own clock. One hash holds all of a credential, so that
 * one node of a cluster can run each script:
 *
 *   r:<kid> record   v:<kid> version   t:<kid> when its tokens were obtained   w:<kid> when it was written
 *   d:<kid> the version that the due time belongs to, and the due time
 *   o:<name> an entry of the outbox: when it was written, its kid, and the record
 *   epoch   the epoch of the last claim         open     the name of that claim, until it is released
 *   until   when its lease expires              claimed  when it was made
 *   after   when the previous claim was made, if it was never released
 *   run     the run id of the server that granted the lease, or that renewed it at the first look since its start
 *   name    the name of the last claim          named    the epoch of that claim
 *   lease   the length of the lease when it was last extended
 *   sent    the last claim that may have sent a request
 *   holder, note
 *
 * Builds that know no names, leases and due times leave those fields unchanged. So `named` tells whether they belong to
 * the last claim, and `d:<kid>` names its version. An index, `prefix:due:{tenant}`, repeats the due times. In a cluster
 * it is in another slot, so it is updated afterwards.
 *
 * Times are milliseconds since the epoch. Replies are strings only, because clients parse numbers differently. `claim`
 * and `write` recognise their own name or version when they run twice: a client may resend a command that got no
 * answer.
 */

export interface Script {
  readonly text: string;
  /** The id of the script in Redis: the SHA-1 of the text, as EVALSHA prescribes. */
  readonly sha: string;
}

const SHARED = `
local key = KEYS[1]
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function digits(number) return string.format('%.0f', number) end
local function due(at, inMs) return digits(math.max(0, math.min(9007199254740991, at + inMs))) end
local function put(kid, record, version, age, dueIn)
  local at = now()
  redis.call('HSET', key, 'r:' .. kid, record, 'v:' .. kid, version, 't:' .. kid, digits(at - age), 'w:' .. kid, digits(at))
  if dueIn == '' then
    redis.call('HDEL', key, 'd:' .. kid)
    return '0'
  end
  local when = due(at, dueIn)
  redis.call('HSET', key, 'd:' .. kid, version .. ' ' .. when)
  return when
end
local function drop(kid)
  return redis.call('HDEL', key, 'r:' .. kid, 'v:' .. kid, 't:' .. kid, 'w:' .. kid, 'd:' .. kid)
end
local function version(kid)
  local found = redis.call('HGET', key, 'v:' .. kid)
  return found and '=' .. found or '-'
end
local function release(epoch, unsent, note)
  if redis.call('HGET', key, 'epoch') ~= epoch then return end
  redis.call('HDEL', key, 'open')
  if unsent ~= '1' then redis.call('HSET', key, 'sent', epoch) end
  if note then redis.call('HSET', key, 'note', note) else redis.call('HDEL', key, 'note') end
end
local function followed(epoch, sentOnly)
  if epoch == '' then return nil end
  local last = redis.call('HMGET', key, 'epoch', 'claimed', 'open', 'sent', 'named')
  if tonumber(last[1] or 0) <= tonumber(epoch) then return nil end
  local sent = last[5] ~= last[1] or tonumber(last[4] or 0) > tonumber(epoch)
  if sentOnly == '1' and not sent then return nil end
  local age = math.max(0, now() - (tonumber(last[2]) or 0))
  return {'followed', last[1], digits(age), last[3] and '1' or '0', sent and '1' or '0'}
end
`;

/**
 * The server's run id changes with each start, and when a replica is promoted. It is empty where the server does not
 * tell.
 */
const RUN = `
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end
`;

/**
 * kid -> record, version, age; nothing; or `large`. Even after the clock was set back, the age is at least that at the
 * write.
 */
export const READ = script(`
local found = redis.call('HMGET', key, 'r:' .. ARGV[1], 'v:' .. ARGV[1], 't:' .. ARGV[1], 'w:' .. ARGV[1])
if not found[1] then return false end
if #found[1] > ${MAX_RECORD_BYTES} then return {'large'} end
return {found[1], found[2] or '', digits(math.max(now(), tonumber(found[4]) or 0) - (tonumber(found[3]) or 0))}`);

/** kid -> version, or nothing. */
export const VERSION = script(`return redis.call('HGET', key, 'v:' .. ARGV[1])`);

/** -> the names of the fields. */
export const FIELDS = script(`return redis.call('HKEYS', key)`);

/**
 * kid, expected, record, version, age, due in ms or nothing, the claim that must be the last or nothing, whether to
 * ignore later claims that sent nothing [, epoch, unsent [, note]] -> `written` and when it is due; `conflict`; or
 * `followed`, epoch, age, open, sent.
 */
export const WRITE = script(`
local there = version(ARGV[1])
if there == '=' .. ARGV[4] then return {'written'} end
if there ~= ARGV[2] then return {'conflict'} end
local later = followed(ARGV[7], ARGV[8])
if later then return later end
local when = put(ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
if ARGV[9] then release(ARGV[9], ARGV[10], ARGV[11]) end
return {'written', when}`);

/** kid, expected or `*`, the claim that must be the last or nothing -> as WRITE. */
export const REMOVE = script(`
local there = version(ARGV[1])
if there == '-' or (ARGV[2] ~= '*' and there ~= ARGV[2]) then return {'conflict'} end
local later = followed(ARGV[3])
if later then return later end
drop(ARGV[1])
return {'written'}`);

/** kid, new kid, expected, record, version, age, then as WRITE from `due` -> as WRITE. */
export const MOVE = script(`
local there = version(ARGV[2])
if there == '=' .. ARGV[5] then return {'written'} end
if there ~= '-' or version(ARGV[1]) ~= ARGV[3] then return {'conflict'} end
local later = followed(ARGV[8], ARGV[9])
if later then return later end
drop(ARGV[1])
local when = put(ARGV[2], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
if ARGV[10] then release(ARGV[10], ARGV[11], ARGV[12]) end
return {'written', when}`);

/** kid, expected, due in ms -> when it is due, or nothing. */
export const RESCHEDULE = script(`
if version(ARGV[1]) ~= ARGV[2] then return '' end
local when = due(now(), ARGV[3])
redis.call('HSET', key, 'd:' .. ARGV[1], string.sub(ARGV[2], 2) .. ' ' .. when)
return when`);

/** -> for each record its kid, its version and when it is due, 0 where that is unknown. */
export const DUE = script(`
local answer = {}
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'v:' then
    local kid = string.sub(field, 3)
    local found = redis.call('HMGET', key, field, 'd:' .. kid)
    local version, when = string.match(found[2] or '', '^(.*) (%d+)$')
    for _, text in ipairs({kid, found[1], version == found[1] and when or '0'}) do answer[#answer + 1] = text end
  end
end
return answer`);

/** For the index: pairs of a member and its due time, or nothing to remove it -> nothing. */
export const INDEX = script(`
for at = 1, #ARGV, 2 do
  if ARGV[at + 1] == '' then redis.call('ZREM', key, ARGV[at])
  else redis.call('ZADD', key, ARGV[at + 1], ARGV[at]) end
end`);

/**
 * For the index: the lowest score, the highest in ms from now, how many to skip, how many to return -> members with
 * scores.
 */
export const INDEXED = script(`
return redis.call('ZRANGEBYSCORE', key, ARGV[1], digits(now() + ARGV[2]), 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[4])`);

/** For the index: -> the time since it was last compared with all records, in ms; nothing if it never was. */
export const COMPARED = script(`
local since = redis.call('ZSCORE', key, '')
return since and digits(now() + since) or ''`);

/** For the index: records that it is compared now. */
export const COMPARE = script(`redis.call('ZADD', key, '-' .. digits(now()), '')`);

/**
 * holder, name, lease, patience [, kid, expected] -> `superseded`; `held`; or `claimed`, epoch, now, after, note, run.
 *
 * After the server starts, nobody may replace a silent holder before that holder could have come back. The start time
 * does not help: while the server reads a large log, it refuses everybody for minutes. So the first look at such a
 * lease by a new run extends it once more. The same holds for a lease that ends later than its own length from now,
 * because the clock was set back.
 */
export const CLAIM = script(`${RUN}
if ARGV[5] and version(ARGV[5]) ~= ARGV[6] then return {'superseded'} end
local at, lease = now(), tonumber(ARGV[3])
local fields = {'epoch', 'until', 'claimed', 'open', 'note', 'run', 'after', 'name', 'named', 'lease'}
local last = {}
for index, value in ipairs(redis.call('HMGET', key, unpack(fields))) do last[fields[index]] = value end
local named = last.named and last.named == last.epoch
if named and last.name == ARGV[2] then
  if not last.open then return {'held'} end
  redis.call('HSET', key, 'until', digits(at + lease), 'claimed', digits(at), 'lease', digits(lease))
  return {'claimed', last.epoch, digits(at), last.after or '', last.note or '', last.run or ''}
end
local this, after = nil, ''
if last.open then
  if named and last.lease and tonumber(last['until']) > at + last.lease then
    redis.call('HSET', key, 'until', digits(at + last.lease))
    return {'held'}
  end
  if at <= tonumber(last['until']) + tonumber(ARGV[4]) then return {'held'} end
  this = run()
  if last.run ~= this then
    redis.call('HSET', key, 'until', digits(at + lease), 'run', this, 'lease', digits(lease))
    return {'held'}
  end
  after = last.claimed
end
this = this or run()
local epoch = digits(math.max((last.epoch or 0) + 1, at))
redis.call('HSET', key, 'epoch', epoch, 'until', digits(at + lease), 'claimed', digits(at), 'open', ARGV[2],
  'run', this, 'after', after, 'holder', ARGV[1], 'name', ARGV[2], 'named', epoch, 'lease', digits(lease))
if last.epoch and not named then redis.call('HSET', key, 'sent', last.epoch) end
return {'claimed', epoch, digits(at), after, last.note or '', this}`);

/** name -> nothing. */
export const WITHDRAW = script(`
if redis.call('HGET', key, 'open') == ARGV[1] then redis.call('HDEL', key, 'open') end`);

/** epoch, lease, whether its holder is about to send [, kid, version that the record must have] -> 1 or 0. */
export const RENEW = script(`
if ARGV[4] and version(ARGV[4]) ~= ARGV[5] then return '0' end
local last = redis.call('HMGET', key, 'epoch', 'open')
if last[1] ~= ARGV[1] or not last[2] then return '0' end
redis.call('HSET', key, 'until', digits(now() + ARGV[2]), 'lease', ARGV[2])
if ARGV[3] == '1' then redis.call('HSET', key, 'sent', ARGV[1]) end
return '1'`);

/** epoch, unsent [, note] -> nothing. */
export const RELEASE = script('release(ARGV[1], ARGV[2], ARGV[3])');

/** name, kid, record -> whether the entry is kept: the newest by generation and epoch are. */
export const KEEP = script(`
local field = 'o:' .. ARGV[1]
if not redis.call('HGET', key, field) then
  redis.call('HSET', key, field, digits(now()) .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
end
local entries = {}
for _, one in ipairs(redis.call('HKEYS', key)) do
  local generation, epoch = string.match(one, '^o:(%d+)%.(%d+)%.')
  if generation then entries[#entries + 1] = {one, tonumber(generation), tonumber(epoch)} end
end
table.sort(entries, function(a, b)
  if a[2] ~= b[2] then return a[2] > b[2] end
  if a[3] ~= b[3] then return a[3] > b[3] end
  return a[1] < b[1]
end)
local kept = '1'
for at = ${MAX_OUTBOX_ENTRIES} + 1, #entries do
  redis.call('HDEL', key, entries[at][1])
  if entries[at][1] == field then kept = '0' end
end
return kept`);

/** -> name and value of each entry of the outbox. */
export const KEPT = script(`
local answer = {}
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'o:' then
    local value = redis.call('HGET', key, field)
    if #value <= ${MAX_RECORD_BYTES} + 300 then
      answer[#answer + 1] = string.sub(field, 3)
      answer[#answer + 1] = value
    end
  end
end
return answer`);

/** names of entries -> nothing. */
export const FORGET = script(`for _, name in ipairs(ARGV) do redis.call('HDEL', key, 'o:' .. name) end`);

/** -> 1 or 0. */
export const LEASED = script(`
local last = redis.call('HMGET', key, 'open', 'until')
return last[1] and now() <= tonumber(last[2]) and '1' or '0'`);

/** name, record -> nothing. */
export const ASIDE = script(`redis.call('HSET', key, ARGV[1], digits(now()) .. ' ' .. ARGV[2])`);

/**
 * -> number of records, number written within an hour, whether a claim is open, the time since its lease expired in ms.
 */
export const SUMMARY = script(`
local at, records, recent = now(), 0, 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'w:' then
    records = records + 1
    if at - redis.call('HGET', key, field) < 3600000 then recent = recent + 1 end
  end
end
local last = redis.call('HMGET', key, 'open', 'until')
return {digits(records), digits(recent), last[1] and '1' or '0', digits(last[1] and at - last[2] or 0)}`);

/** -> whether scripts can read the server's run id. */
export const RUN_KNOWN = script(`${RUN}
return run() ~= '' and '1' or '0'`);

function script(steps: string): Script {
  const text = `${SHARED}${steps}`.trim();
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
