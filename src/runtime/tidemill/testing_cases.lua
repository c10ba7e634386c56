-- testing_cases.lua: cases from a JSON-lines file, NAME.cases.jsonl: events in, effects out, one case a line:
--
--   {"name": "gold gets ten percent", "stream": "purchase", "event": {"user_id": "u1", "total": 120},
--    "effects": [{"stream": "offers", "event": {"user_id": "u1", "percent": 10}}]}
--
-- (all of it in one line). Empty lines, and lines that begin with // or #, are passed over. Members of a case:
--
--   name                   what is said when it fails
--   events                 a list of { stream, event, id? } (a line of `tidemill tail`), { stream, fields, id? } for an entry of plain
--                          fields, and { advance = "30m" }; of a single one `stream` and `event` may stand in the case itself
--   effects                what must come of it, in order: { stream, event } or { command = [...] }; without this: none
--   letters                the dead letters, by the members that are named, such as { reason = "schema" }; without this: none
--   state, timers, reasons what must be there in the end: { RULE = { KEY = state or null } }, { RULE = [{ key, name, due }] },
--                          [{ rule, reason }]; not looked at without this
--   redis                  answers to lookups: { "HGET user:7 segment" = "vip" }
--   given                  what there is before: { state = { RULE = { KEY = state } } }
--
-- The rules are those of NAME.lua beside the file, else of NAME.lua in the rules folder, else of the whole rules folder; a first line
-- {"rules": "../rules/loyalty.lua"} says otherwise.
local diff = require "tidemill.testing_diff"
local json = require "tidemill.json"
local nearest = require "tidemill.nearest"
local paths = require "tidemill.testing_paths"
local testing = require "tidemill.testing"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

local cases = {}

-- Thrown by what is wrong with a case, and not with what came of it.
local function fail(format, ...) error({ sentence = format:format(...) }, 0) end

-- ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local MEMBERS = { "name", "events", "stream", "event", "fields", "id", "effects", "letters", "state", "timers", "reasons", "redis",
  "given" }
local TYPES = { name = "string", events = "array", effects = "array", letters = "array", reasons = "array", state = "map",
  timers = "map", redis = "map", given = "map" }
local EVENT_MEMBERS = { "stream", "event", "fields", "id" }

local function kind_of(v)
  if value.is_null(v) then return "null" end
  if type(v) == "table" then return getmetatable(v) == "array" and "array" or "map" end
  return type(v)
end

local TYPE_NAMES = { array = "a list", map = "an object", string = "text", null = "null" }

-- Of what nobody guesses.
local EXAMPLES = {
  letters = [[{"reason":"schema"}]], reasons = [[{"reason":"the customer is vip"}]], timers = [=[[{"key":"u1","name":"remind"}]]=],
}

local function check_type(path, v, wanted, example)
  local kind = kind_of(v)
  if kind == wanted then return end
  fail("`%s` must be %s%s, it is %s", path, TYPE_NAMES[wanted], example and " such as " .. example or "",
    TYPE_NAMES[kind] or "a " .. kind)
end

local function check_members(path, t, known)
  check_type(path, t, "map")
  local is_known = {}
  for _, name in ipairs(known) do is_known[name] = true end
  for name in pairs(t) do
    if not is_known[name] then fail("unknown member `%s`%s", diff.member(path, name):gsub("^%.", ""), nearest.hint(name, known)) end
  end
end

local function check_event(path, item)
  check_type(path, item, "map")
  if item.advance ~= nil then
    if type(item.advance) ~= "number" then check_type(path .. ".advance", item.advance, "string") end
    return check_members(path, item, { "advance" })
  end
  check_members(path, item, { "stream", "event", "fields", "id", "advance" })
  if type(item.stream) ~= "string" then fail("`%s.stream` is missing: the name of the stream that the event comes on", path) end
  if (item.event == nil) == (item.fields == nil) then fail("`%s` needs either `event` or `fields`", path) end
  check_type(path .. (item.event ~= nil and ".event" or ".fields"), item.event or item.fields, "map")
end

local function check_command(path, words)
  check_type(path, words, "array")
  for n, word in ipairs(words) do
    if not value.key_text(word) then check_type(("%s[%d]"):format(path, n), word, "string") end
  end
end

local function check_effect(path, item)
  check_members(path, item, { "stream", "event", "id", "command" })
  if item.command ~= nil then return check_command(path .. ".command", item.command) end
  if type(item.stream) ~= "string" or item.event == nil then fail("`%s` needs `stream` and `event`, or `command`", path) end
  check_type(path .. ".event", item.event, "map")
end

-- { RULE = { … } }
local function check_by_rule(path, t, wanted)
  for rule, v in pairs(t) do check_type(diff.member(path, rule), v, wanted, EXAMPLES[path]) end
end

-- The short form becomes the long one.
local function events_of(case)
  if case.events == nil then
    local item = {}
    for _, name in ipairs(EVENT_MEMBERS) do item[name] = case[name] end
    if next(item) == nil then fail("the case has no events: give `events`, or `stream` and `event`") end
    return { item }
  end
  for _, name in ipairs(EVENT_MEMBERS) do
    if case[name] ~= nil then fail("`%s` stands beside `events`: put it into the list", name) end
  end
  return case.events
end

local function check_case(case)
  check_members("", case, MEMBERS)
  for name, wanted in pairs(TYPES) do
    if case[name] ~= nil then check_type(name, case[name], wanted) end
  end
  local events = events_of(case)
  for n, item in ipairs(events) do check_event(case.events and ("events[%d]"):format(n) or "case", item) end
  for n, item in ipairs(case.effects or {}) do check_effect(("effects[%d]"):format(n), item) end
  for _, name in ipairs { "letters", "reasons" } do
    for n, item in ipairs(case[name] or {}) do check_type(("%s[%d]"):format(name, n), item, "map", EXAMPLES[name]) end
  end
  check_by_rule("state", case.state or {}, "map")
  check_by_rule("timers", case.timers or {}, "array")
  if case.given then
    check_members("given", case.given, { "state" })
    check_type("given.state", case.given.state, "map")
    check_by_rule("given.state", case.given.state, "map")
  end
  return events
end

-- ── one case ────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function give(kit, events, list)
  for n, item in ipairs(events) do
    local stopped
    if item.advance ~= nil then
      stopped = kit:advance(item.advance)
    else
      local options = { id = item.id, codec = item.fields and "fields" or nil }
      stopped = select(2, kit:event(item.stream, item.event or item.fields, options))
    end
    if stopped then
      list[#list + 1] = { path = ("events[%d]"):format(n), got = "that the rule stopped: " .. stopped }
      return
    end
  end
end

-- As cases write them.
local function shown_effects(effects)
  local list = {}
  for n, effect in ipairs(effects) do
    list[n] = effect.command and { command = value.array(effect.command) } or { stream = effect.stream, event = effect.fields }
  end
  return list
end

-- Commands as Redis gets them: all of it text, the name in capitals. An ID, as in a line of `tidemill tail`, is not known before.
local function wanted_effects(effects)
  local list = {}
  for n, effect in ipairs(effects) do
    list[n] = { stream = effect.stream, event = effect.event }
    if effect.command then
      local words = {}
      for k, word in ipairs(effect.command) do words[k] = value.key_text(word) end
      words[1] = words[1] and words[1]:upper()
      list[n] = { command = value.array(words) }
    end
  end
  return list
end

local function shown_letters(letters)
  local list = {}
  for n, letter in ipairs(letters) do
    local one = {}
    for name, v in pairs(letter) do
      local says_nothing = name == "version" or name == "traceback" or v == "" or (name == "attempts" and v == 1)
      if not says_nothing then one[name] = v end
    end
    list[n] = one
  end
  return list
end

local function of_one_stream(a, b)
  if a.command and b.command then return a.command[1] == b.command[1] end
  return a.stream ~= nil and a.stream == b.stream
end
local function of_one_rule(a, b) return a.rule == nil or a.rule == b.rule end

local function compare_state(kit, list, wanted)
  for rule, by_key in pairs(wanted) do
    for key, state in pairs(by_key) do
      diff.compare(list, diff.member(diff.member("state", rule), key), state, kit:state(rule, key))
    end
  end
end

-- What came, beside what the case names.
local function compare(kit, case, list)
  diff.compare_lists(list, "effects", wanted_effects(case.effects or {}), shown_effects(kit:effects()), of_one_stream)
  diff.compare_lists(list, "letters", case.letters or {}, shown_letters(kit:letters()), of_one_rule, true)
  if case.reasons then diff.compare_lists(list, "reasons", case.reasons, kit:reasons(), of_one_rule, true) end
  compare_state(kit, list, case.state or {})
  for rule, timers in pairs(case.timers or {}) do
    diff.compare_lists(list, diff.member("timers", rule), timers, kit:timers(rule), function(a, b) return a.key == b.key end, true)
  end
end

-- Returns the differences.
local function run_case(files, case, options)
  local events, list = check_case(case), {}
  local kit = testing.load_files(files, options)
  for rule, by_key in pairs(case.given and case.given.state or {}) do
    for key, state in pairs(by_key) do kit:set_state(rule, key, not value.is_null(state) and state or nil) end
  end
  kit:redis(case.redis)
  give(kit, events, list)
  compare(kit, case, list)
  return list
end

-- ── a file ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The objects of a file: { line, case } or { line, column, sentence }, and what its first line says of rules.
local function read(text)
  local list, rules, number = {}, nil, 0
  text = text:gsub("^\239\187\191", "") -- a byte order mark, which some editors put there
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    if not line:find "^%s*$" and not line:find "^%s*//" and not line:find "^%s*#" then
      local case, cause, at = json.decode(line, { nulls = true })
      if cause then
        list[#list + 1] = { line = number, column = at, sentence = cause:gsub("^at byte %d+: ", "") }
      elseif kind_of(case) ~= "map" then
        list[#list + 1] = { line = number, sentence = "a case is an object: {\"name\": …}" }
      elseif case.rules ~= nil and #list == 0 and rules == nil then
        rules = { line = number, header = case }
      else
        list[#list + 1] = { line = number, case = case }
      end
    end
  end
  return list, rules
end

local function is_place(path) return path:find "%.lua$" and paths.is_file(path) or paths.is_folder(path) end

-- The path of the rules that a file of cases is for.
local function rules_of(path, header, options)
  local folder, name = paths.folder_of(path), path:match "([^/]+)%.cases%.jsonl$" or path:match "([^/]+)$"
  if header then
    check_members("", header, { "rules" })
    check_type("rules", header.rules, "string")
    local place = header.rules:sub(1, 1) == "/" and header.rules or paths.join(folder, header.rules)
    if not is_place(place) then fail("`rules`: there is nothing at %s (it counts from the file's own folder)", place) end
    return place
  end
  local beside = paths.join(folder, name .. ".lua")
  if paths.is_file(beside) then return beside end
  local given = options.rules or testing.settings_rules
  local rules = given and paths.find(given, folder, is_place) or not given and paths.nearest("rules", folder, paths.is_folder)
  if given and not rules then fail("there are no rules at %s", given) end
  if not rules then
    fail("which rules is it for? There is no %s, and no folder rules/ here or above; say it in a first line {\"rules\": \"PATH\"}",
      beside)
  end
  if not rules:find "%.lua$" and paths.is_file(paths.join(rules, name .. ".lua")) then return paths.join(rules, name .. ".lua") end
  return rules
end

-- The sentence of an error. One of the kit's carries a place in the kit, of which nobody has anything.
local function sentence_of(err)
  if type(err) == "table" and err.sentence then return err.sentence end
  return (tostring(err):gsub("^[^\n:]+%.lua:%d+: ", ""):gsub("^kit:[%w_]+: ", ""):gsub("^testing%.load: ", ""))
end

---@class tidemill.testing.result
---@field file string
---@field line number
---@field column number|nil       of bad JSON
---@field name string|nil         the case's
---@field is_passed boolean
---@field sentence string|nil     why it could not be run
---@field differences table[]|nil where what came differs

---Runs the cases of a file, each with a kit of its own.
---@param path string
---@param options? table  of testing.load; and `rules`: the rules folder
---@param each? fun(result: tidemill.testing.result)  called with every result as it comes
---@return tidemill.testing.result[]
function cases.run(path, options, each)
  options = options or {}
  local results, text = {}, paths.read(path)
  local function take(result)
    results[#results + 1], result.file = result, path
    if each then each(result) end
  end
  if not text then
    take { line = 1, is_passed = false, sentence = "cannot be read" }
    return results
  end
  local list, first = read(text)
  local kit_options = {}
  for name, v in pairs(options) do kit_options[name] = name ~= "rules" and v or nil end
  local ok, files = pcall(function()
    local found = testing.read_files(rules_of(path, first and first.header, options))
    testing.load_files(found, kit_options) -- their mistakes are told once, and not for each case
    return found
  end)
  if not ok then
    take { line = first and first.line or 1, is_passed = false, sentence = sentence_of(files) }
    return results
  end
  for _, item in ipairs(list) do
    local result = { line = item.line, column = item.column, is_passed = false, sentence = item.sentence }
    if item.case then
      result.name = type(item.case.name) == "string" and item.case.name or nil
      local could, differences = pcall(run_case, files, item.case, kit_options)
      if could then
        result.is_passed, result.differences = #differences == 0, differences
      else
        result.sentence = sentence_of(differences)
      end
    end
    take(result)
  end
  if #list == 0 then take { line = 1, is_passed = false, sentence = "holds no case" } end
  return results
end

---What is said of a case that failed: "FILE:LINE: NAME" and why, a line each; without a name all is in the first line.
---@param result tidemill.testing.result
---@param is_coloured? boolean
---@return string
function cases.text(result, is_coloured)
  local place = ("%s:%d:%s "):format(result.file, result.line, result.column and result.column .. ":" or "")
  local why = result.sentence or diff.text(result.differences, is_coloured)
  return place .. (result.name and result.name .. "\n" or "") .. why
end

return cases
