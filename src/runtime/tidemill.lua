-- tidemill.lua: what `require "tidemill"` gives a rule.
local duration = require "tidemill.duration"
local value = require "tidemill.value"
local window = require "tidemill.window"

---@class tidemill
local tidemill = {}

---What a rule file returns: `return tidemill.rule { ... }`.
---@class tidemill.rule.definition
---@field stream string|string[]             name, list of names, or a glob such as "orders:*"
---@field name? string                       default: the file name without .lua; [A-Za-z0-9_-]{1,64}
---@field mode? "live"|"shadow"              shadow: runs beside the live rules, its effects are kept for `tidemill shadow`, not written
---@field shadow_of? string                  the live rule that this one, in shadow mode, would replace
---@field when? table|fun(event: table): boolean   fields that must equal a value or one of a list; or a function
---@field key? string|fun(event: table): string|number   events of one key run in order and share one state
---@field event? table<string, tidemill.field>|tidemill.schema.definition   what events look like; violations are dead letters
---@field upgrade? table<number, fun(old: table): table>   [1] makes an event of version 2 out of one of version 1 (its `v`), and so on
---@field state? tidemill.rule.state
---@field limits? tidemill.rule.limits
---@field time? string|fun(event: table): any   when it happened: a field of seconds, ms or ISO 8601; default: the entry ID
---@field lateness? string|number            how long the watermark waits for events that come late; default 0
---@field idle? string|number                after how long without an entry a stream holds up the others no more; default "5s"
---@field clock? "wall"|"event"              what timers follow: Redis' clock (default), or the rule's watermark
---@field window? tidemill.window            tidemill.window.tumbling, sliding, session or count
---@field merge? fun(a: table, b: table): table   two parts of a window as one; required for sliding and session
---@field on_event fun(event: table, ctx: tidemill.ctx)   what to do with an event
---@field on_timer? fun(name: string, ctx: tidemill.ctx)   a timer of the key is due: ctx.now is its due time
---@field on_window? fun(span: tidemill.span, ctx: tidemill.ctx)   a window of the key is over: ctx.window is what it holds
---@field on_late? fun(event: table, ctx: tidemill.ctx)    an event whose windows are all over; default: a dead letter `late`
---@field on_error? "dead"|"skip"|"stop"     what happens to an event on which the rule fails; default "dead"

---A type, with ? when it may be missing; or a table of more.
---@alias tidemill.field tidemill.type|tidemill.field.definition
---@alias tidemill.type
---| "string" | "number" | "integer" | "boolean" | "table" | "any"
---| "string?" | "number?" | "integer?" | "boolean?" | "table?" | "any?"

---`{ "string", default = "EUR" }`. In order: an older name, the default, the check. Fields that a schema does not name pass.
---@class tidemill.field.definition
---@field [1]? tidemill.type                      needed unless there is one of enum, fields and list
---@field optional? boolean                       it may be missing, as with ?
---@field default? any                            what a missing one is: each event has its own copy
---@field enum? (string|number|boolean)[]         the values that it may have
---@field renamed? string|string[]                its name in older events: moved when there is none of the new name
---@field fields? table<string, tidemill.field>   it is a map with these fields
---@field list? tidemill.field                    it is a list of these

---@class tidemill.schema.definition
---@field event table<string, tidemill.field>
---@field upgrade? table<number, fun(old: table): table>   see tidemill.rule.definition

---How the state of a key is kept.
---@class tidemill.rule.state
---@field ttl? string|number   how long a key's state is kept after its last change; default: for ever
---@field version? number      of what the state looks like; default 1. Above 1, `migrate` leads there
---@field migrate? fun(old: table, from: number): table|nil   an earlier version's state as this one reads it; nil: no state

---What the rule may spend on one event; never more than the settings allow.
---@class tidemill.rule.limits
---@field rule_ms? number      running time; waiting for Redis is free
---@field effects? number      how many
---@field effect_kb? number    their bytes
---@field state_kb? number     the packed state of one key

---What a window spans: start <= time < stop. Of a session: from its first event to `gap` after its last one.
---@class tidemill.span
---@field start number   ms since 1970
---@field stop number    ms since 1970

---Timers of the rule and the event's key, by name. Setting again replaces. A delay counts from the entry's ID on, in on_timer
---from when that one was due; with `clock = "event"` from ctx.now.
---@class tidemill.timer
---@field set fun(name: string, delay: string|number, payload?: any)   "30m", or ms
---@field set_at fun(name: string, ms: number, payload?: any)          ms since 1970; one that has passed is due at once
---@field cancel fun(name: string)
---@field get fun(name: string): number|nil                            when it is due, in ms since 1970; nil: it is not set

---Lines of the log, with the rule's name. Values are written side by side.
---@class tidemill.log
---@field debug fun(...: any)
---@field info fun(...: any)
---@field warn fun(...: any)
---@field error fun(...: any)   only a line: the event is done; `error` and ctx.dead fail it

---All that a handler can reach. Only valid during the call.
---@class tidemill.ctx
---@field state any              a table, kept per key; what is left in it after the call is stored; nil clears it
---@field key string             the event's key
---@field id string              entry ID, "1700000000000-0"; of a timer or window the ms at which it was due
---@field stream string          the stream that the event came from; "" where there is no event
---@field now number             ms since 1970: the event's time, never the wall clock; of a timer: when it was due
---@field timer tidemill.timer   durable, in the same commit as all else
---@field payload any            in on_timer: what the timer was set with
---@field window any             a table, kept per key and window until it is over; nil in a rule without `window`
---@field emit fun(stream: string, fields: table<string, any>)   an effect: one more entry on a stream
---@field redis tidemill.redis   ctx.redis.hget(key, field): reads answer, writes are effects and return nothing
---@field log tidemill.log       ctx.log.info("what", value)
---@field reason fun(text: string)     why; kept with the decision
---@field dead fun(message: string)    this event to the dead letters; does not return, and no pcall catches it

---What `nil` inside of an array is.
---@class tidemill.null

---An integer of 64 bits that a number cannot hold exactly. `tostring` and `..` give plain decimal; it compares with numbers.
---@class tidemill.int64

---Declares a rule; a rule file returns it.
---@param definition tidemill.rule.definition
---@return tidemill.rule.definition
function tidemill.rule(definition)
  if type(definition) ~= "table" then error("tidemill.rule: expects a table", 2) end
  return definition
end

local SCHEMA = { __metatable = "schema" }

---Declares what events look like, for the rules that read them: a file `schemas/order.lua` returns it, and a rule says
---`event = require "schemas.order"`.
---@param definition tidemill.schema.definition
---@return tidemill.schema.definition
function tidemill.schema(definition)
  if type(definition) ~= "table" then error("tidemill.schema: expects a table", 2) end
  if getmetatable(definition) == "schema" then return definition end
  return setmetatable(definition, SCHEMA)
end

---Windows, aggregates and rings; as `require "tidemill.window"`.
---@type tidemill.window.module
tidemill.window = window

---What nil inside an array is.
---@type tidemill.null
tidemill.null = value.null

---An exact integer of 64 bits, of plain decimal text.
---@type fun(v: string|number|tidemill.int64): tidemill.int64
tidemill.int64 = value.int64

---Marks a table as an array: so it is one again when it is encoded, also when it is empty.
---@type fun(list?: any[]): any[]
tidemill.array = value.array

---A msgpack ext value (timestamps are type -1), with the fields `type` and `bytes`.
---@type fun(kind: number, bytes: string): { type: number, bytes: string }
tidemill.ext = value.ext

---True for `tidemill.null`.
---@type fun(v: any): boolean
tidemill.is_null = value.is_null

---True for a `tidemill.int64`.
---@type fun(v: any): boolean
tidemill.is_int64 = value.is_int64

---The milliseconds of a duration such as "30m".
---@param v string|number
---@return number ms
function tidemill.duration(v)
  local ms, reason = duration.parse(v)
  if not ms then error(reason, 2) end
  return ms
end

return tidemill
