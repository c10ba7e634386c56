-- testing.lua: the test kit: `require "tidemill.testing"`. Runs rules over the engine's own kernel, without Redis:
--
--   local kit = testing.load "rules/cart.lua"
--   kit:event("cart", { type = "add", user_id = 7, total = 20 })
--   assert.same({ total = 20 }, kit:state("cart", 7))
--   kit:event("cart", { type = "pay", user_id = 7 })
--   assert.same({ { stream = "receipts", fields = { user_id = 7, total = 20 } } }, kit:effects())
local call = require "tidemill.call"
local clocks = require "tidemill.clocks"
local duration = require "tidemill.duration"
local firing = require "tidemill.firing"
local glob = require "tidemill.glob"
local kernel = require "tidemill.kernel"
local nearest = require "tidemill.nearest"
local pack = require "tidemill.pack"
local rulebook = require "tidemill.rulebook"
local testing_commands = require "tidemill.testing_commands"
local testing_coverage = require "tidemill.testing_coverage"
local testing_hook = require "tidemill.testing_hook"
local testing_host = require "tidemill.testing_host"
local testing_paths = require "tidemill.testing_paths"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

---The test kit: rules over the engine's own kernel, without Redis.
---@class tidemill.testing
local testing = {}

-- Compiled code calls no hook (testing_hook.lua), the JIT of Debian 12's LuaJIT is not safe at an address above 4 GB (each.lua), and
-- specs need no speed. TIDEMILL_JIT=1 leaves it on.
if not os.getenv "TIDEMILL_JIT" then jit.off() end

---What holds where testing.load is not told otherwise; `tidemill test` puts in what the settings file says.
---@type tidemill.testing.options
testing.settings = {}
testing.settings_rules = nil -- its rules folder

local FIRST_MS = 1700000000000 -- of the first event's ID

-- ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The level, as error and debug.getinfo of the function that asks count it, of the spec that called the kit.
local function spec_level()
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info or (info.what ~= "C" and not info.source:find "tidemill/testing[%w_]*%.lua$") then return level - 1 end
    level = level + 1
  end
end

-- Errors of the kit are errors of the spec: they carry the spec's line.
local function misuse(format, ...) error(format:format(...), (spec_level())) end

-- The folder of the spec that called the kit; nil when it is no file.
local function spec_folder()
  local info = debug.getinfo((spec_level()), "S")
  return info and info.source:sub(1, 1) == "@" and testing_paths.folder_of(info.source:sub(2)) or nil
end

local read_file = testing_paths.read

local RULE_FILES = "-L . lib schemas \\( -path './?*/*' -o -name '.?*' \\) -prune -o -type f -name '*.lua'"

-- The rules in a folder, and what is in `lib` and `schemas` all the way down, as names relative to it: those that the engine would
-- read (rules/edition.c), so links are followed.
local function list_folder(folder)
  local names = {}
  for _, name in ipairs(testing_paths.list(folder, RULE_FILES)) do
    if rulebook.is_rule(name) or rulebook.is_library(name) then names[#names + 1] = name end
  end
  return names
end

local function files_of(what)
  local files = {}
  if type(what) == "table" then
    for name, text in pairs(what) do files[#files + 1] = { name = name, text = text } end
    table.sort(files, function(a, b) return a.name < b.name end)
    return files
  end
  if type(what) ~= "string" then misuse("testing.load: expects a path, or a table of texts by file name") end
  local only = what:match "([^/]+%.lua)$"
  local found, places = testing_paths.find(what, spec_folder(), only and testing_paths.is_file or testing_paths.is_folder)
  if not found then
    misuse("testing.load: there %s at %s%s", only and "is no rule file" or "are no rules", what,
      #places > 1 and "; looked at\n  " .. table.concat(places, "\n  ") or "")
  end
  local folder = only and testing_paths.folder_of(found) or found
  for _, name in ipairs(list_folder(folder)) do
    if not only or name == only or rulebook.is_library(name) then
      local path = testing_paths.join(folder, name)
      local text = read_file(path) or misuse("testing.load: %s cannot be read", path)
      files[#files + 1] = { name = name, text = text, path = path }
    end
  end
  if #files == 0 then misuse("testing.load: there are no rules at %s", what) end
  return files
end

---The .lua files of a folder that testing.load would read, as names relative to it.
testing.list_folder = list_folder

---The files that testing.load would load: { name, text, path }.
testing.read_files = files_of

local LIMITS = {
  effects = 1000, effect_kb = 1024, event_kb = 1024, event_depth = 32, event_elements = 65536, state_kb = 64,
  rule_ms = 50, hard_ms = 1000, load_ms = 5000, vm_mb = 256,
}
local LIMIT_NAMES = { "effects", "effect_kb", "event_kb", "event_depth", "event_elements", "state_kb", "rule_ms", "hard_ms",
  "load_ms", "vm_mb" }
local OPTIONS = { "limits", "outputs", "partition", "batch_events", "cold", "start_ms", "future", "record" }
local FUTURE = "1h"

local function check_names(given, known, what)
  local is_known = {}
  for _, name in ipairs(known) do is_known[name] = true end
  for name in pairs(given) do
    if not is_known[name] then misuse("%s `%s`%s", what, tostring(name), nearest.hint(tostring(name), known)) end
  end
end

-- What is not said holds as the settings say.
local function with_settings(options)
  local all = {}
  for name, v in pairs(testing.settings) do all[name] = v end
  for name, v in pairs(options) do all[name] = v end
  return all
end

local function check_share(record)
  if record == nil or (type(record) == "number" and record >= 0 and record <= 1) then return end
  misuse("testing.load: `record` is the share of events that are recorded, a number from 0 to 1; this is %s", tostring(record))
end

local function limits_of(options)
  local limits, settings = {}, testing.settings.limits or {}
  for name, default in pairs(LIMITS) do limits[name] = options.limits and options.limits[name] or settings[name] or default end
  limits.effect_bytes, limits.state_bytes = limits.effect_kb * 1024, limits.state_kb * 1024
  limits.event_bytes, limits.vm_bytes = limits.event_kb * 1024, limits.vm_mb * 1048576
  return limits
end

---@class tidemill.testing.options
---@field limits? table<string, number>   as in the settings file; `vm_mb` and `hard_ms` are the engine's matter alone
---@field outputs? table<string, table>   as in the settings file
---@field partition? "stream"             as in the settings file
---@field batch_events? number            most events that are run together by `kit:events`; default: all
---@field cold? boolean                   forget states between batches, as an engine does that has little memory
---@field start_ms? number                ms of the first event's ID
---@field future? string|number           as in the settings file
---@field record? number                  as in the settings file: the share of events whose decisions are kept, 0 to 1

---@class tidemill.testing.kit
---@field rules table[]     the loaded rules, in the order of their names
---@field warnings table[]  what `tidemill check` would warn of: { file, line, message }
local Kit = {}
Kit.__index = Kit

-- A mistake as `tidemill check` tells it, the line with a caret under the word meant (base/excerpt.c).
local function shown_problem(problem, paths)
  local text = ("%s:%d: %s"):format(paths[problem.file] or problem.file, problem.line, problem.message)
  if not problem.text then return text end
  text = ("%s\n%5d | %s"):format(text, problem.line, problem.text)
  if (problem.column or 0) == 0 then return text end
  -- What stands in front of the word, as blanks: tabs stay, and the bytes behind the first of a character do not count.
  local before = problem.text:sub(1, problem.column - 1):gsub("[\128-\191]", ""):gsub("[^\t]", " ")
  local word = problem.text:sub(problem.column, problem.column + problem.width - 1):gsub("[\128-\191]", "")
  return ("%s\n      | %s%s"):format(text, before, ("^"):rep(math.max(#word, 1)))
end

-- All of them, once what several rules have from one schema or library.
local function tell_problems(problems, files)
  local texts, is_told, paths = {}, {}, {}
  for _, file in ipairs(files) do paths[file.name] = file.path end
  for _, problem in ipairs(problems) do
    local text = shown_problem(problem, paths)
    if not is_told[text] then texts[#texts + 1], is_told[text] = text, true end
  end
  misuse("the rules have mistakes:\n%s", table.concat(texts, "\n"))
end

---Loads a rule file (with the `lib` and `schemas` beside it), a folder of rules, or texts by file name. Mistakes in the rules
---raise, with all that `tidemill check` would say.
---@param what string|table<string, string>
---@param options? tidemill.testing.options
---@return tidemill.testing.kit
function testing.load(what, options)
  check_names(options or {}, OPTIONS, "testing.load: unknown option")
  check_names(options and options.limits or {}, LIMIT_NAMES, "testing.load: unknown limit")
  check_share(options and options.record)
  return testing.load_files(files_of(what), options or {})
end

---As testing.load, of what testing.read_files gave.
function testing.load_files(files, options)
  options = with_settings(options)
  local kit = setmetatable({
    lines = {}, done_effects = {}, done_letters = {}, done_reasons = {}, done_shadow = {}, done_decisions = {},
    state_writes = 0, last_id = {},
    next_ms = options.start_ms or FIRST_MS, batch_events = options.batch_events or math.huge, answers = nil,
  }, Kit)
  local limits = limits_of(options)
  local lines = testing_coverage.lines_of(files)
  local sources = {}
  for _, file in ipairs(files) do sources["@" .. file.name] = true end
  local book = rulebook.load(files, {
    limits = limits, call = testing_hook.loader(limits.load_ms, sources, lines),
    untagged_alone = options.partition == "stream",
    print = function(rule, text)
      if kit.host then return kit.host.functions.log("info", rule, "", text) end
      kit.lines[#kit.lines + 1] = { level = "info", rule = rule, text = text } -- while it is loaded
    end,
  })
  if #book.problems > 0 then tell_problems(book.problems, files) end
  kit.rules, kit.warnings = book.rules, book.warnings
  kit.host = testing_host.create {
    limits = limits, is_cold = options.cold, rules = book.rules,
    is_input = function(name) return kit:reads(name) end,
  }
  kit.host.limits.future_ms = duration.parse(options.future or FUTURE)
  kit.host.limits.record = options.record
  kit.kernel = kernel.new(kit.host.functions, book, kit.host.limits)
  kit.kernel.outputs = options.outputs
  kit.watch = testing_hook.of_kernel(kit.kernel, lines)
  kit.partition = kit.kernel:open(kit.host.c)
  for _, R in ipairs(book.rules) do
    for _, name in ipairs(R.streams) do
      if not glob.is_pattern(name) then kit:stream_number(name) end
    end
  end
  return kit
end

-- The kernel's number of a stream, which the kit reads from now on.
function Kit:stream_number(name)
  local is_new = not self.kernel.stream_index[name]
  local number = self.kernel:stream(name)
  if is_new then clocks.attend(self.kernel, self.partition, number, 0) end
  return number
end

-- Do rules read a stream of this name?
function Kit:reads(name)
  for _, R in ipairs(self.rules) do
    for _, matches in ipairs(R.matchers) do
      if matches(name) then return true end
    end
  end
  return false
end

-- ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

---@class tidemill.testing.event_options
---@field id? string|number     entry ID, "1700000000000-0" or its ms; must be higher than the last one of the stream
---@field codec? "fields"       an entry of plain fields: values become text
---@field only? string          a retry, for this rule alone
---@field attempts? number      how often the retry failed before

local function id_of(kit, stream, given)
  local ms, seq
  if given == nil then
    ms, seq = kit.next_ms, 0
  else
    ms, seq = tostring(given):match "^(%d+)%-?(%d*)$"
    if type(given) == "number" then ms, seq = ("%.0f"):format(given), "0" end
    if not ms or #seq > 15 then misuse("kit:event: '%s' is no entry ID such as 1700000000000-0", tostring(given)) end
    ms, seq = tonumber(ms), tonumber(seq) or 0
  end
  local last = kit.last_id[stream]
  if last and (ms < last.ms or (ms == last.ms and seq <= last.seq)) then
    misuse("kit:event: the ID %.0f-%.0f is not above %s, the last one of '%s'", ms, seq, last.text, stream)
  end
  if ms >= kit.next_ms then kit.next_ms = ms + 1 end
  return ms, seq
end

local function text_fields(fields)
  local texts = {}
  for name, v in pairs(fields) do
    local text = type(v) == "boolean" and tostring(v) or value.key_text(v)
    if type(name) ~= "string" or not text then misuse("kit:event: plain fields are text; '%s' is none", tostring(name)) end
    texts[name] = text
  end
  return texts
end

-- The bytes of an entry's only value, and whether it is an entry of plain fields. JSON stays as it is: the host decodes it.
local function bytes_of(stream, fields, options)
  if type(fields) == "string" then
    local first = fields:byte() or 0
    if (first >= 0x80 and first <= 0x8f) or first == 0xde or first == 0xdf then return fields, false end
    if first == 0x7b then return fields, false end
    return pack.string { data = fields }, true
  end
  if type(fields) ~= "table" then misuse("kit:event(%q, fields): fields must be a table, it is a %s", stream, type(fields)) end
  local is_text = options.codec == "fields"
  local bytes, why = pack.string(is_text and text_fields(fields) or fields)
  if not bytes then misuse("kit:event(%q, fields): this cannot be an event: %s", stream, why) end
  local first = bytes:byte()
  if first < 0x80 or (first > 0x8f and first < 0xde) then
    misuse("kit:event(%q, fields): an event has named fields; this is an array", stream)
  end
  return bytes, is_text
end

local EVENT_OPTIONS = { "id", "codec", "only", "attempts" }

local function item_of(kit, stream, fields, options)
  options = options or {}
  if kit.is_running then misuse("kit:event: cannot be called while a rule waits for an answer") end
  check_names(options, EVENT_OPTIONS, "kit:event: unknown option")
  if type(stream) ~= "string" then misuse("kit:event(stream, fields): stream must be a name, it is a %s", type(stream)) end
  if not kit:reads(stream) then
    local names = {}
    for _, R in ipairs(kit.rules) do
      for _, name in ipairs(R.streams) do names[#names + 1] = name end
    end
    misuse("kit:event: no rule reads '%s'%s", stream, nearest.hint(stream, names))
  end
  local bytes, texts = bytes_of(stream, fields, options)
  local ms, seq = id_of(kit, stream, options.id)
  local only = options.only and kit.host.rule_index[options.only] or 0
  if options.only and only == 0 then misuse("kit:event: there is no rule '%s'", options.only) end
  local item = {
    name = stream, stream = kit:stream_number(stream), ms = ms, seq = seq, id = ("%.0f-%.0f"):format(ms, seq),
    bytes = bytes, size = #bytes + 4, texts = texts, only = only, attempts = options.attempts or (only > 0 and 1 or 0),
  }
  item.before = kit.last_id[stream]
  kit.last_id[stream] = { ms = ms, seq = seq, text = item.id }
  return item
end

-- ── lookups ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local Refusal = {}

---An answer of Redis that is an error: `return testing.refusal "WRONGTYPE Operation against a key ..."`.
---@param text string
---@return table refusal
function testing.refusal(text) return setmetatable({ text = text }, Refusal) end

---The answer nil in a table of answers, where nil itself would be no answer.
---@type tidemill.null
testing.null = value.null

-- Numbers as the text that Redis keeps; a table by field as the flat list that Redis sends.
local function as_text(v)
  if type(v) ~= "table" then return type(v) == "number" and value.key_text(v) or v end
  local list = {}
  for n, one in ipairs(v) do list[n] = as_text(one) end
  return list
end

local function as_reply(argv, answer)
  local row = testing_commands.TABLE[argv[1]]
  if argv[1] == "HGETALL" and type(answer) == "table" and #answer == 0 then
    local flat = {}
    for field, v in pairs(answer) do flat[#flat + 1], flat[#flat + 2] = as_text(field), as_text(v) end
    return flat
  end
  return row.is_text and as_text(answer) or answer
end

local function lookup_in(answers, argv)
  local wanted = table.concat(argv, " ")
  for line, answer in pairs(answers) do
    local name, rest = line:match "^(%S+)(.*)$"
    if name and name:upper() .. rest == wanted then return true, answer end
  end
  return false
end

local function ask_function(answers, argv)
  local function counted(...) return select("#", ...) > 0, (...) end
  return counted(answers(argv))
end

-- Answers to all the lookups that the kernel waits for.
function Kit:answer_requests()
  local host = self.host
  host.answers = {}
  for n, argv in ipairs(host.requests) do
    local found, answer = false, nil
    if type(self.answers) == "function" then
      found, answer = ask_function(self.answers, { unpack(argv) })
    elseif self.answers then
      found, answer = lookup_in(self.answers, argv)
    end
    if not found then
      misuse("a rule asked Redis, and there is no answer: %s  (give one with kit:redis, or in the case's `redis`)", table.concat(argv, " "))
    end
    if getmetatable(answer) == Refusal then
      host.answers[n] = { refusal = answer.text }
    elseif value.is_null(answer) then
      host.answers[n] = {}
    else
      host.answers[n] = { value = as_reply(argv, answer) }
    end
  end
  host.requests = {}
end

---What Redis answers to lookups from now on. A function gets the command as a list, its name in capitals, and returns the answer
---as ctx.redis gives it (a table by field for HGETALL, nil for nothing there); when it returns no value at all, or there is no
---answer in the table, the spec fails with the command. The keys of a table are commands: { ["HGET user:7 segment"] = "vip" }.
---@param answers (fun(argv: string[]): any)|table<string, any>|nil
function Kit:redis(answers)
  if answers ~= nil and type(answers) ~= "function" and type(answers) ~= "table" then
    misuse("kit:redis: expects a function or a table of answers, got a %s", type(answers))
  end
  self.answers = answers
end

-- ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- A record of a shadow rule, as a record for the spec.
local function shadow_of(record)
  local R, item, failure, did_failure = record.rule, record.item, record.failure, record.did_failure
  return {
    rule = R.base_name, of = R.replaces and R.replaces.name, stream = item.name, id = item.id, timer = item.timer,
    window = item.window, key = record.key, would = record.would, did = record.did, same = record.is_same,
    reason = failure and failure.reason, message = failure and failure.message,
    did_reason = did_failure and did_failure.reason,
  }
end

function Kit:take_batch(done)
  for _, e in ipairs(done.effects) do
    local effect = testing_host.effect_of(self.host, e.argv)
    self.done_effects[#self.done_effects + 1] = effect
    if self.on_effect then self.on_effect(effect, e.argv) end
  end
  for _, letter in ipairs(done.letters) do
    self.done_letters[#self.done_letters + 1] = {
      reason = letter.reason, message = letter.message, traceback = letter.traceback, rule = letter.rule,
      version = letter.version, stream = letter.stream, id = letter.id, key = letter.key, attempts = letter.attempts,
      timer = letter.timer, window = letter.window,
      payload = letter.payload ~= "" and self.host:decode(letter.payload) or nil,
    }
  end
  for _, line in ipairs(done.lines) do
    self.lines[#self.lines + 1] = { level = line.level, rule = line.rule, text = line.text }
  end
  for _, one in ipairs(done.reasons) do
    self.done_reasons[#self.done_reasons + 1] = { rule = one.rule, id = one.id, reason = one.reason }
  end
  for _, record in ipairs(done.shadows) do
    self.done_shadow[#self.done_shadow + 1] = shadow_of(record)
  end
  for _, one in ipairs(done.decisions) do
    one.rules, one.bytes = self.host:decode(one.bytes), nil
    for _, decision in ipairs(one.rules) do decision.us = nil end
    self.done_decisions[#self.done_decisions + 1] = one
  end
  self.state_writes = self.state_writes + done.writes
end

-- One batch from `first` on. Returns how many events were processed, and why it stopped.
function Kit:run_batch(items, first, last)
  self.host:put_batch(items, first, last)
  return self:run_to_end(last - first + 1)
end

-- What has been put. Returns, too, how many timers and windows fired.
function Kit:run_to_end(count)
  local host = self.host
  host:discard()
  self.kernel:begin(self.partition, count)
  while true do
    local status, processed, stopped = testing_hook.run(self.watch, self.kernel.run, self.kernel, self.partition)
    if status == "done" then
      local done = host:commit()
      self:take_batch(done)
      return processed, stopped, done.fired
    end
    host:fetch_states()
    self:answer_requests()
  end
end

-- Events that were not processed may come again.
local function give_back(kit, items, first)
  for n = #items, first, -1 do kit.last_id[items[n].name] = items[n].before end
end

function Kit:run_items(items)
  local first = 1
  while first <= #items do
    local last = math.min(#items, first + self.batch_events - 1)
    self.is_running = true
    local ok, processed, stopped = pcall(self.run_batch, self, items, first, last)
    self.is_running = false
    if not ok then
      call.partition = nil
      self.host:discard()
      give_back(self, items, first)
      error(processed, 0)
    end
    first = first + processed
    if stopped then
      give_back(self, items, first)
      return first - 1, stopped
    end
  end
  return #items
end

---Gives the rules one event, in a batch of its own. IDs rise by a millisecond by themselves. A string in place of the fields is
---the entry's raw value, as it came from whoever wrote it.
---@param stream string
---@param fields table|string
---@param options? tidemill.testing.event_options
---@return string|nil id, string|nil stopped  why a rule with on_error = "stop" stopped: then the event was not processed
function Kit:event(stream, fields, options)
  local item = item_of(self, stream, fields, options)
  local _, stopped = self:run_items { item }
  if stopped then return nil, stopped end
  return item.id
end

---Gives the rules several events, run together as far as `batch_events` allows:
---`kit:events("cart", { {…}, {…} })`, or `kit:events { { "cart", {…} }, { "pay", {…}, { id = "…" } } }`.
---@param stream string|table[]
---@param list? table[]
---@return number processed, string|nil stopped
function Kit:events(stream, list)
  local items = {}
  if type(stream) == "table" then
    for n, one in ipairs(stream) do items[n] = item_of(self, one[1], one[2], one[3]) end
  else
    for n, fields in ipairs(list or {}) do items[n] = item_of(self, stream, fields) end
  end
  return self:run_items(items)
end

-- One batch in which time comes to `ms`. Returns whether there is more to do.
function Kit:run_tick(ms)
  self.host:put_tick(ms)
  local _, stopped = self:run_to_end(0)
  local is_cut = self.partition.cut_at ~= nil or firing.wake(self.kernel, self.partition) <= ms
  return is_cut and not stopped, stopped
end

---Lets time pass, on quiet streams: what is due until then fires, and the next event's ID is this much later.
---@param delay string|number  "30m", or ms
---@return string|nil stopped  why a rule with on_error = "stop" stopped
function Kit:advance(delay)
  local ms, why = duration.parse(delay)
  if not ms then misuse("kit:advance: %s", why) end
  if self.is_running then misuse("kit:advance: cannot be called while a rule waits for an answer") end
  self.next_ms = self.next_ms + ms
  local has_more, stopped
  repeat
    self.is_running = true
    local ok, more, by = pcall(self.run_tick, self, self.next_ms)
    self.is_running = false
    if not ok then
      call.partition = nil
      self.host:discard()
      error(more, 0)
    end
    has_more, stopped = more, by
  until not has_more
  return stopped
end

-- ── what came of it ─────────────────────────────────────────────────────────────────────────────────────────────────────

local function taken(kit, name)
  local list = kit[name]
  kit[name] = {}
  return list
end

---@class tidemill.testing.effect
---@field stream? string       of an emit
---@field fields? table        of an emit
---@field command? string[]    of a write: { "INCR", "count" }

---@class tidemill.testing.letter
---@field reason string        decode schema key error dead time memory output state late future refused migrate
---@field message string
---@field traceback string     the rule's own lines
---@field rule string
---@field version string       of the rule
---@field stream string
---@field id string            of the entry; of a timer or window the ms at which it was due
---@field key string
---@field attempts number
---@field timer? string        its name
---@field window? string       "START-STOP", the ms that it spans
---@field payload? any         of a timer; a window's table; a refused command

---@class tidemill.testing.line
---@field level "debug"|"info"|"warn"|"error"
---@field rule string
---@field text string

---@class tidemill.testing.reason
---@field rule string
---@field id string
---@field reason string

---@class tidemill.testing.timer
---@field key string
---@field name string
---@field due number           ms since 1970
---@field clock "wall"|"event"
---@field payload? any

---What rules wanted done since the last call, in the order in which it goes to Redis: { stream =, fields = } for an emit,
---{ command = { "INCR", "count" } } for a write.
---@return tidemill.testing.effect[]
function Kit:effects() return taken(self, "done_effects") end

---The dead letters since the last call: { reason, message, traceback, rule, version, stream, id, key, attempts }.
---@return tidemill.testing.letter[]
function Kit:letters() return taken(self, "done_letters") end

---What shadow rules would have done since the last call, beside what the rules did that they would replace: { rule, of, stream,
---id, key, would, did, same, reason, message, did_reason, timer, window }. `would` and `did` are lists of effects as `kit:effects`
---gives them; `reason`: of what would be a dead letter.
---@return table[]
function Kit:shadow() return taken(self, "done_shadow") end

---The log lines since the last call, those of `print` too: { level, rule, text }.
---@return tidemill.testing.line[]
function Kit:logs() return taken(self, "lines") end

---What ctx.reason was told since the last call: { rule, id, reason }.
---@return tidemill.testing.reason[]
function Kit:reasons() return taken(self, "done_reasons") end

---The decisions since the last call, when the option `record` is above 0, as `tidemill explain --json` has them: for each event
---{ stream, id, rules }, and for what fired { rule, key, timer or window, id (when it was due), rules }; in `rules` for each rule
---{ rule, version, outcome, why, reason, message, key, reasons, state, window, lookups, effects, timers }. Without the time taken,
---which is another in every run.
---@return table[]
function Kit:decisions() return taken(self, "done_decisions") end

local function rule_number(kit, rule)
  local number = kit.host.rule_index[rule]
  if number then return number end
  local names = {}
  for n, R in ipairs(kit.rules) do names[n] = R.name end
  misuse("there is no rule '%s'%s", tostring(rule), nearest.hint(tostring(rule), names))
end

local function key_text(key)
  local text = value.key_text(key)
  if not text then misuse("a key must be a string or a number, it is a %s", type(key)) end
  return text
end

-- What is stored for a key; nil when there is nothing, or it has expired.
function Kit:kept_state(rule, key)
  local kept = self.host.stored[rule_number(self, rule)][key_text(key == nil and "" or key)]
  if not kept or (kept.expiry_ms ~= 0 and kept.expiry_ms <= self.host.c.clock_ms) then return nil end
  return kept
end

---The state of a rule for a key, or nil when there is none (or it has expired). As it was left: see `state_version`.
---@param rule string
---@param key? string|number  default: "", the key of rules without `key`
---@return table|nil
function Kit:state(rule, key)
  local kept = self:kept_state(rule, key)
  return kept and self.host:decode(kept.bytes)[3]
end

---The version of the rule that left the state of a key (`state.version`), or nil when there is none.
---@param rule string
---@param key? string|number
---@return number|nil
function Kit:state_version(rule, key)
  local kept = self:kept_state(rule, key)
  return kept and kept.version
end

---The pending timers of a rule, in the order in which they are due: { key, name, due, clock, payload }.
---@param rule string
---@return tidemill.testing.timer[]
function Kit:timers(rule)
  local list = self.host.timers:list(rule_number(self, rule))
  for _, timer in ipairs(list) do
    if timer.payload then timer.payload = self.host:decode(timer.payload) end
  end
  return list
end

---How far a rule has come in event time, ms; nil when it has no watermark (yet).
---@param rule string
---@return number|nil
function Kit:watermark(rule)
  local clock = self.partition.clocks[rule_number(self, rule)]
  return clock and clock.watermark > -math.huge and clock.watermark or nil
end

---How many events of a rule came too late for its windows.
---@param rule string
---@return number
function Kit:late(rule) return self.rules[rule_number(self, rule)].late end

---@class tidemill.testing.state_options
---@field version? number   of the rule that left it; default: the rule's own `state.version`

---Sets the state of a rule for a key, as if the rule had left it there now; nil clears it. With `{ version = 1 }` an earlier
---version of the rule has left it, and the next event of the key migrates it.
---@param rule string
---@param key? string|number
---@param state table|nil
---@param options? tidemill.testing.state_options
function Kit:set_state(rule, key, state, options)
  options = options or {}
  check_names(options, { "version" }, "kit:set_state: unknown option")
  local number, text = rule_number(self, rule), key_text(key == nil and "" or key)
  local R = self.rules[number]
  local version = options.version or R.state_version
  if type(version) ~= "number" or version < 1 or version > 2147483647 or version % 1 ~= 0 then
    misuse("kit:set_state: a version is a whole number from 1 on, this is %s", tostring(version))
  end
  if state == nil then return self.host:set_stored(number, text, nil) end
  if type(state) ~= "table" then misuse("kit:set_state: a state is a table, this is a %s", type(state)) end
  local expiry_ms = R.ttl and math.max(self.host.c.clock_ms, self.next_ms - 1) + R.ttl or 0
  local len, why = pack.state(expiry_ms, version, state)
  if not len then misuse("kit:set_state: this cannot be kept as a state: %s", why) end
  self.host:set_stored(number, text, {
    bytes = require("ffi").string(pack.bytes(), len), head = pack.STATE_HEAD, expiry_ms = expiry_ms, version = version,
  })
end

-- ── cases ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

---Runs the cases of a JSON-lines file (testing_cases.lua says what stands in it). In a spec of busted, inside of a `describe`, each
---case becomes an `it`; elsewhere the results are returned.
---@param path string       looked up as by testing.load
---@param options? table    of testing.load; and `rules`: a rule file or the rules folder
---@return tidemill.testing.result[]|nil
function testing.cases(path, options)
  local cases = require "tidemill.testing_cases"
  local found, places = testing_paths.find(path, spec_folder(), testing_paths.is_file)
  if not found then misuse("testing.cases: there is no file at\n  %s", table.concat(places, "\n  ")) end
  local results = cases.run(found, options)
  local busted = package.loaded.busted
  if type(busted) ~= "table" or not busted.it then return results end
  for _, result in ipairs(results) do
    busted.it(result.name or ("line %d"):format(result.line), function()
      if not result.is_passed then busted.fail(cases.text(result), 0) end
    end)
  end
end

return testing
