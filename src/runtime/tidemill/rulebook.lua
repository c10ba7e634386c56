-- rulebook.lua: from the files of a rules folder to rules, or to every mistake in them as file, line and message.
--
-- Each rule file has libraries of its own, because after a broken edit it keeps those of its last good version.
local duration = require "tidemill.duration"
local environment = require "tidemill.environment"
local glob = require "tidemill.glob"
local limits = require "tidemill.limits"
local nearest = require "tidemill.nearest"
local outline = require "tidemill.outline"
local place = require "tidemill.place"
local schema = require "tidemill.schema"
local schema_reader = require "tidemill.schema_reader"
local timers = require "tidemill.timers"
local upgrade = require "tidemill.upgrade"
local pairs = require("tidemill.each").pairs

local rulebook = {}

local IDLE_MS = 5000 -- of a rule that does not say

-- ── problems ────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- What a file's author gave where a name or text belongs: never runs code of theirs.
local function shown(v)
  if type(v) == "string" or type(v) == "number" or type(v) == "boolean" then return tostring(v) end
  return "(a " .. type(v) .. ")"
end

local Loader = {}
Loader.__index = Loader

-- Where a mistake stands, and the line that shows it. `at`: a place; or a line, on which the first word that the message quotes
-- is meant. (On a line without it there is nothing to show: it is the file that is wrong.)
local function located(file, at, message)
  local is_line = type(at) ~= "table"
  if is_line then at = place.of_message(file.text, at or 1, message) end
  return { file = file.name, line = at.line, column = at.column, width = at.width, message = message,
    text = (not is_line or at.column > 0) and place.line_text(file.text, at.line) or nil }
end

-- The order in which problems are told.
local function stands_before(a, b)
  if a.file ~= b.file then return a.file < b.file end
  if a.line ~= b.line then return a.line < b.line end
  if a.column ~= b.column then return a.column < b.column end
  return a.message < b.message
end

-- `at`: a place, or a line.
function Loader:problem(file, at, format, ...)
  local problem = located(file, at, format:format(...))
  problem.unit = self.unit and self.unit.name or ""
  self.problems[#self.problems + 1] = problem
end

-- Where the first of these fields that the file gives stands; else where its rule table begins.
local function place_of(file, ...)
  for n = 1, select("#", ...) do
    local field = select(n, ...)
    local found = field and place.of_field(file.text, field)
    if found then return found end
  end
  return place.of_rule(file.text)
end

local function line_of(text, field)
  local found = place.of_field(text, field)
  return found and found.line
end

-- A problem with one field of the rule table, where the field stands.
function Loader:field_problem(file, field, format, ...)
  self:problem(file, place_of(file, field), format, ...)
end

-- A problem that Lua, or a function called while loading, has told of: at the word that it means, with the name meant.
function Loader:told_problem(file, line, message)
  local hint = place.hint(file.text, line, message, rulebook.MODULES)
  self:problem(file, place.of_message(file.text, line, message), "%s%s", message, hint)
end

-- Where what has this path stands in the table that a file returns (outline.lua). Where the table is made of parts that stand
-- elsewhere in the file, the last word is looked for.
local function place_of_path(file, path)
  local found, count = outline.place(file.text, path)
  local word = path[#path]
  local apart = count < #path and type(word) == "string" and place.of_field(file.text, word)
  return apart or found or place.of_rule(file.text)
end

function Loader:path_problem(file, path, format, ...)
  self:problem(file, place_of_path(file, path), format, ...)
end

-- Errors of Lua itself begin with "file:line: ".
function Loader:lua_problem(file, err)
  if err == "not enough memory" then
    collectgarbage "collect" -- LuaJIT does not, and the next file wants some
    return self:problem(file, 1, "needs more memory to load than limits.vm_mb allows (%d MB)", self.limits.vm_bytes / 1048576)
  end
  if type(err) ~= "string" then return self:problem(file, 1, "raised a %s value while loading", type(err)) end
  local name, line, message = err:match "^([^\n:]-):(%d+): (.*)$"
  local tail = name and name:match "^%.%.%.(.+)$" -- Lua keeps the last 57 letters of a long name
  local function is_meant(other) return other.name == name or (tail and other.name:sub(-#tail) == tail) end
  if name and is_meant(file) then return self:told_problem(file, tonumber(line), message) end
  for _, library in pairs(file.libraries) do
    if name and is_meant(library) then return self:told_problem(library, tonumber(line), message) end
  end
  self:problem(file, 1, "%s", err)
end

-- ── loading a file ──────────────────────────────────────────────────────────────────────────────────────────────────────

-- FNV-1a, 32 bits: names a version of a rule. A host may have a faster one that gives the same.
local function hash(text)
  local bit = require "bit"
  local h = 2166136261
  for n = 1, #text do
    h = bit.bxor(h, text:byte(n)) % 4294967296
    local low, high = h % 65536, math.floor(h / 65536)
    h = (low * 16777619 + (high * 16777619 % 65536) * 65536) % 4294967296
  end
  return h
end

local function copy_of(t)
  local copy = {}
  for k, v in pairs(t) do copy[k] = v end
  return copy
end

-- A module of ours for one rule: whatever the rule does to it is nobody else's matter. Metatables stay (they hide themselves).
function rulebook.copy_of_module(t)
  local copy = {}
  for k, v in pairs(t) do copy[k] = type(v) == "table" and rulebook.copy_of_module(v) or v end
  return setmetatable(copy, debug.getmetatable(t))
end

local FOLDERS = { lib = true, schemas = true }

---Is this the name of a file that rules may require, relative to the folder? (Any other in a folder is nothing to us.)
function rulebook.is_library(name)
  return FOLDERS[name:match "^(%a+)/"] or false
end

-- The files at the top of the folder are rules, but for specs, which may lie beside theirs.
function rulebook.is_rule(name)
  return not name:find "/" and not name:find "._spec%.lua$"
end

local function not_found(file, name, path)
  local names = {}
  for module in pairs(rulebook.MODULES) do names[#names + 1] = module end
  for library in pairs(file.libraries) do names[#names + 1] = library:gsub("%.lua$", ""):gsub("/", ".") end
  table.sort(names)
  local near = nearest.name(name, names)
  local cure = path and ("what lies in the folder's %s/: there is no %s"):format(path:match "^%a+", path)
    or "\"tidemill\", \"lib.NAME\" and \"schemas.NAME\" (a file lib/NAME.lua or schemas/NAME.lua of the rules folder)"
  return ("module '%s' not found; a rule may require %s%s"):format(name, cure, near and ("; did you mean `%s`?"):format(near) or "")
end

-- Notes where tables stand that a schema may be made of, for messages.
local function note_origin(file, library, result)
  if type(result) ~= "table" then return end
  file.origins[result] = { file = library, path = {} }
  local event = rawget(result, "event")
  if type(event) == "table" then file.origins[event] = { file = library, path = { "event" } } end
end

-- An error that a library raised while it was loaded, with a place in it: `return require "..."` at its end is a tail call, and
-- leaves none.
local function with_place(library, err)
  if type(err) ~= "string" or err:find "^[^\n:]-:%d+: " or err == "not enough memory" then return err end
  local module, line = err:match "^module '([^']+)'", 1
  local at = module and (library.text:find('"' .. module .. '"', 1, true) or library.text:find("'" .. module .. "'", 1, true))
  if at then line = select(2, library.text:sub(1, at):gsub("\n", "")) + 1 end
  return ("%s:%d: %s"):format(library.name, line, err)
end

-- `require` of one rule: the engine's modules, and the folder's own lib and schemas, each rule with its own copies.
local function requirer(file, environment_of)
  local loaded, loading, seen = {}, {}, {}
  return function(name)
    if type(name) ~= "string" then error("require: expects the name of a module", 2) end
    if loaded[name] ~= nil then return loaded[name] end
    if rulebook.MODULES[name] then
      loaded[name] = rulebook.copy_of_module(require(name))
      return loaded[name]
    end
    local path = FOLDERS[name:match "^(%a+)%.[%w_.-]+$"] and name:gsub("%.", "/") .. ".lua"
    local library = path and file.libraries[path]
    if not library then error(not_found(file, name, path), 2) end
    if loading[name] then error(("module '%s' requires itself"):format(name), 2) end
    if not seen[name] then file.depends, seen[name] = file.depends .. library.text, true end -- once, also when it fails again
    local chunk, err = rulebook.compile(library.text, "@" .. library.name, environment_of())
    if not chunk then error(err, 0) end
    loading[name] = true
    local ok, result = pcall(chunk)
    loading[name] = nil
    if not ok then error(with_place(library, result), 0) end
    loaded[name] = result == nil and true or result
    note_origin(file, library, result)
    return loaded[name]
  end
end

---Compiles text (never bytecode) to run in an environment.
function rulebook.compile(text, name, env)
  if text:sub(1, 1) == "\27" then return nil, ("%s:1: this is bytecode; rules are text"):format(name:sub(2)) end
  return load(text, name, "t", env)
end

function Loader:run_file(file)
  local env
  file.depends, file.origins = file.text, {}
  local print_line = function(text) self.print(file.rule_name, text) end
  env = environment.create(requirer(file, function() return env end), print_line)
  file.rule_name = file.name:gsub("%.lua$", "")
  local chunk, err = rulebook.compile(file.text, "@" .. file.name, env)
  if not chunk then return self:lua_problem(file, err) end
  local ok, result = self.call(chunk)
  if not ok then return self:lua_problem(file, result) end
  if type(result) ~= "table" then
    local lines = select(2, file.text:gsub("\n", "\n"))
    return self:problem(file, math.max(lines, 1), "returns %s; a rule file ends with: return tidemill.rule { ... }",
      result == nil and "nothing" or "a " .. type(result))
  end
  return copy_of(result) -- without a metatable, whose functions would run while the table is checked
end

-- ── checking the rule table ─────────────────────────────────────────────────────────────────────────────────────────────

local FIELDS = {}

-- `seen:shadow:RULE:STREAM` in ctl is of the shadow rule RULE, and never of a rule `shadow` on the stream `RULE:STREAM`.
local RESERVED = "shadow"

function FIELDS.name(loader, file, R, v)
  if v == RESERVED then
    loader:field_problem(file, "name", "a rule cannot be named '%s': what shadow rules keep is called so", RESERVED)
  elseif type(v) == "string" and #v <= 64 and v:find "^[%w_-]+$" then
    R.name = v
  else
    loader:field_problem(file, "name", "`name` must be 1 to 64 letters, digits, _ or -")
  end
end

-- The partition that a stream belongs to: its hash tag, or "" (design 2).
function rulebook.tag_of(stream, untagged_alone)
  local tag = stream:match "{([^}]+)}"
  local open = stream:find("{", 1, true)
  if open and stream:sub(open, open + 1) == "{}" then tag = nil end
  if tag then return tag end
  return untagged_alone and stream or ""
end

function FIELDS.stream(loader, file, R, v)
  local list = type(v) == "string" and { v } or v
  if type(list) ~= "table" or #list == 0 then
    return loader:field_problem(file, "stream", "`stream` must be a name, a list of names or a glob such as \"orders:*\"")
  end
  local tags, first, plain = {}, nil, nil
  for n, name in ipairs(list) do
    if type(name) ~= "string" then
      return loader:field_problem(file, "stream", "`stream` number %d must be a name, it is a %s", n, type(name))
    end
    if name == "" then return loader:field_problem(file, "stream", "`stream` number %d is an empty name", n) end
    if name:sub(1, 9) == "tidemill:" then
      return loader:field_problem(file, "stream", "`stream` '%s': keys that start with tidemill: are the engine's own", name)
    end
    R.streams[n] = name
    R.matchers[n] = glob.is_pattern(name) and glob.matcher(name) or function(stream) return stream == name end
    if not glob.is_pattern(name) then
      local tag = rulebook.tag_of(name, loader.untagged_alone)
      first, plain = first or tag, plain or name
      if tag ~= first then tags[#tags + 1] = name end
    end
  end
  if #tags > 0 then
    loader:field_problem(file, "stream", "`stream` lists streams of different partitions ('%s' and '%s'); give them one "
      .. "hash tag, such as \"a:{x}\" and \"b:{x}\"%s",
      plain, tags[1], loader.untagged_alone and ", or drop `partition = \"stream\"` from the settings" or "")
  end
end

FIELDS["when"] = function(loader, file, R, v)
  if type(v) == "function" then
    R.when_function = v
    return
  end
  if type(v) ~= "table" then
    return loader:field_problem(file, "when", "`when` must be a table of fields or a function, it is a %s", type(v))
  end
  R.filter = {}
  for field, wanted in pairs(v) do
    local allowed = {}
    for _, one in ipairs(type(wanted) == "table" and wanted or { wanted }) do
      local kind = type(one)
      if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        return loader:field_problem(file, "when", "`when.%s` may be compared with strings, numbers and booleans, not a %s",
          shown(field), kind)
      end
      allowed[one] = true
    end
    if type(field) ~= "string" or next(allowed) == nil then
      return loader:field_problem(file, "when", "`when.%s` must be a value or a list of values", shown(field))
    end
    R.filter[#R.filter + 1] = { field, allowed }
  end
  table.sort(R.filter, function(a, b) return a[1] < b[1] end)
end

function FIELDS.key(loader, file, R, v)
  if type(v) == "string" then
    R.key_field = v
  elseif type(v) == "function" then
    R.key_function = v
  else
    loader:field_problem(file, "key", "`key` must be the name of a field or a function, it is a %s", type(v))
  end
end

-- What a schema (`tidemill.schema`) says in place of the rule; nil: it says something else.
local function read_schema(loader, file, R, v)
  local origin = file.origins[v] or { file = file, path = { "event" } }
  local given = copy_of(v)
  for name in pairs(given) do
    local text = shown(name)
    if text ~= "event" and text ~= "upgrade" then
      loader:path_problem(origin.file, { text }, "unknown field `%s` of a schema%s", text, nearest.hint(text, { "event", "upgrade" }))
    end
  end
  if given.event == nil then
    loader:path_problem(origin.file, origin.path, "`event` of the schema is missing: the fields that its events have")
  end
  R.has_schema = true
  return given, origin.file
end

local function read_upgrade(loader, source, R, v)
  if type(v) ~= "table" then
    return loader:path_problem(source, { "upgrade" },
      "`upgrade` must be a table such as { [1] = function(old) return new end }, it is a %s", type(v))
  end
  local function report(sentence, key) loader:path_problem(source, { "upgrade", key }, "%s", sentence) end
  local before, places = #loader.problems, {}
  local functions = upgrade.parse(v, report)
  if #loader.problems > before then return end
  for version in ipairs(functions) do
    places[version] = ("%s:%d"):format(source.name, place_of_path(source, { "upgrade", version }).line)
  end
  R.upgrades, R.upgrade = functions, upgrade.runner(functions, places)
end

function FIELDS.event(loader, file, R, v)
  if type(v) == "table" and getmetatable(v) == "schema" then
    local given, source = read_schema(loader, file, R, v)
    if given.upgrade ~= nil then read_upgrade(loader, source, R, given.upgrade) end
    if given.event == nil then return end
    v = given.event
  end
  local fields, problems = schema_reader.parse(v, file.origins)
  for _, problem in ipairs(problems or {}) do
    loader:path_problem(problem.file or file, problem.path, "%s", problem.message)
  end
  if fields and #fields > 0 then R.check = schema.checker(fields) end
end

function FIELDS.upgrade(loader, file, R, v)
  if R.has_schema then
    return loader:path_problem(file, { "upgrade" }, "`upgrade` belongs into the schema that `event` is: a rule with a schema has none "
      .. "of its own")
  end
  read_upgrade(loader, file, R, v)
end

local STATE_FIELDS = { "ttl", "version", "migrate" }
local VERSION_MOST = 2147483647

-- A version above 1 and a function that leads there belong together: without the function the states of version 1 could not be
-- read, and without the version it would never be called.
local function check_version(loader, file, R, version, migrate)
  if version ~= nil and not (type(version) == "number" and version >= 1 and version <= VERSION_MOST and version % 1 == 0) then
    return loader:field_problem(file, "version", "`state.version` must be a whole number from 1 to %d", VERSION_MOST)
  end
  if migrate ~= nil and type(migrate) ~= "function" then
    return loader:field_problem(file, "migrate", "`state.migrate` must be a function(old, from), it is a %s", type(migrate))
  end
  if migrate and (version or 1) == 1 then
    return loader:field_problem(file, "migrate", "`state.migrate` needs a `state.version` above 1: the one that it migrates to")
  end
  if not migrate and (version or 1) > 1 then
    return loader:field_problem(file, "version", "`state.version` is %d, but there is no `state.migrate`: the states that earlier "
      .. "versions left could not be read", version)
  end
  R.state_version, R.migrate = version or 1, migrate
end

function FIELDS.state(loader, file, R, v)
  if type(v) ~= "table" then
    return loader:field_problem(file, "state", "`state` must be a table such as { ttl = \"8d\" }")
  end
  local given = {}
  for name, one in pairs(v) do
    local text = shown(name)
    given[text] = one
    if text ~= "ttl" and text ~= "version" and text ~= "migrate" then
      loader:field_problem(file, text, "unknown field `state.%s`%s", text, nearest.hint(text, STATE_FIELDS))
    end
  end
  if given.ttl ~= nil then
    local ttl, reason = duration.parse(given.ttl)
    if not ttl or ttl == 0 then
      loader:field_problem(file, "ttl", "`state.ttl`: %s", reason or "it must be more than 0 ms")
    end
    R.ttl = ttl
  end
  check_version(loader, file, R, given.version, given.migrate)
end

function FIELDS.limits(loader, file, R, v)
  if type(v) ~= "table" then
    return loader:field_problem(file, "limits", "`limits` must be a table such as { rule_ms = 10 }, it is a %s", type(v))
  end
  R.own_limits = limits.parse(v, loader.limits, function(name, sentence)
    loader:problem(file, place_of(file, name, "limits"), "%s", sentence)
  end)
end

local function function_field(name, member)
  FIELDS[name] = function(loader, file, R, v)
    if type(v) ~= "function" then
      return loader:field_problem(file, name, "`%s` must be a function, it is a %s", name, type(v))
    end
    R[member or name] = v
  end
end

for _, name in ipairs { "on_event", "on_timer", "on_window", "on_late", "merge" } do function_field(name) end

-- ── time ──

function FIELDS.time(loader, file, R, v)
  if type(v) ~= "function" and (type(v) ~= "string" or v == "") then
    return loader:field_problem(file, "time", "`time` must be the name of a field or a function(event), it is a %s",
      v == "" and "text without a letter" or type(v))
  end
  R.time = v
  if type(v) == "string" then R.time_field = v else R.time_function = v end
end

local function duration_field(name, least)
  FIELDS[name] = function(loader, file, R, v)
    local ms, reason = duration.parse(v)
    if not ms or ms < least then
      return loader:field_problem(file, name, "`%s`: %s", name, reason or ("it must be at least %d ms"):format(least))
    end
    R[name] = ms
  end
end

duration_field("lateness", 0)
duration_field("idle", 1)

function FIELDS.clock(loader, file, R, v)
  if v ~= "wall" and v ~= "event" then
    return loader:field_problem(file, "clock", "`clock` must be \"wall\" (Redis' time) or \"event\" (the rule's watermark)")
  end
  R.clock_kind = v == "event" and timers.EVENT or timers.WALL
end

-- What each kind of window is made of.
local WINDOWS = { tumbling = { "size" }, sliding = { "size", "step" }, session = { "gap" }, count = { "count" } }

function FIELDS.window(loader, file, R, v)
  local kind = type(v) == "table" and type(v.kind) == "string" and WINDOWS[v.kind]
  if not kind then
    return loader:field_problem(file, "window", "`window` must be made by tidemill.window: tumbling(\"10s\"), "
      .. "sliding(\"10m\", \"10s\"), session(\"30m\") or count(100)")
  end
  local window = { kind = v.kind }
  for _, name in ipairs(kind) do
    local number = v[name]
    if type(number) ~= "number" or not (number >= 1 and number < 2 ^ 53) or number % 1 ~= 0 then
      return loader:field_problem(file, "window", "`window`: its %s must be a whole number of at least 1", name)
    end
    window[name] = number
  end
  if v.kind == "sliding" and (window.step > window.size or window.size % window.step ~= 0) then
    return loader:field_problem(file, "window", "`window`: the size of a sliding window must be a multiple of its step")
  end
  R.window = window
end

-- What belongs together.
local function check_time(loader, file, R)
  local kind = R.window and R.window.kind
  R.has_clock = R.time ~= nil or R.window ~= nil or R.clock_kind == timers.EVENT
  if R.window and not R.on_window then
    loader:field_problem(file, "window", "`on_window` is missing: the function(span, ctx) that is called when a window closes")
  end
  if (kind == "sliding" or kind == "session") and not R.merge then
    loader:field_problem(file, "window", "`merge` is missing: function(a, b) that makes one table of those of two %s",
      kind == "sliding" and "panes" or "sessions that an event joins")
  end
  for _, name in ipairs { "on_window", "on_late", "merge" } do
    if R[name] and not R.window then loader:field_problem(file, name, "`%s` needs a `window`", name) end
  end
  for _, name in ipairs { "lateness", "idle" } do
    if R[name] and not R.has_clock then
      loader:field_problem(file, name, "`%s` needs a watermark, which rules with `time`, `window` or `clock = \"event\"` have",
        name)
    end
  end
  R.lateness, R.idle = R.lateness or 0, R.idle or IDLE_MS
end

function FIELDS.on_error(loader, file, R, v)
  if v ~= "dead" and v ~= "skip" and v ~= "stop" then
    return loader:field_problem(file, "on_error", "`on_error` must be \"dead\", \"skip\" or \"stop\"")
  end
  R.on_error = v
end

function FIELDS.mode(loader, file, R, v)
  if v ~= "live" and v ~= "shadow" then
    return loader:field_problem(file, "mode", "`mode` must be \"live\" or \"shadow\"")
  end
  R.is_shadow = v == "shadow" or nil
end

function FIELDS.shadow_of(loader, file, R, v)
  if type(v) ~= "string" then
    return loader:field_problem(file, "shadow_of", "`shadow_of` must be the name of a rule, it is a %s", type(v))
  end
  R.shadow_of = v
end

local ORDER = { "name", "mode", "shadow_of", "stream", "when", "key", "event", "upgrade", "state", "limits", "time", "lateness",
  "idle", "clock", "window", "merge", "on_event", "on_timer", "on_window", "on_late", "on_error" }

-- ── shadow rules ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- A shadow rule's name, for its state, timers, clocks and log lines. No live rule's name has a colon: so the two of one name
-- never meet, and a rule that goes live begins with what it kept when it was live.
local function shadow_name(name) return "shadow:" .. name end

local function check_mode(loader, file, R)
  if R.shadow_of and not R.is_shadow then
    loader:field_problem(file, "shadow_of", "`shadow_of` needs `mode = \"shadow\"`")
  elseif R.shadow_of == R.name then
    loader:field_problem(file, "shadow_of", "`shadow_of` names the rule itself; it names the one that this would replace")
  end
  -- It may fail, but not stop live rules.
  if R.is_shadow and R.on_error == "stop" then R.on_error = "dead" end
end

-- Why `shadow_of` names no rule that could be replaced.
local function unpaired(R, rules, of)
  if of then return ("rule '%s' is in shadow mode itself, so nothing is compared"):format(R.shadow_of) end
  local live = {}
  for _, other in ipairs(rules) do
    if not other.is_shadow then live[#live + 1] = other.base_name end
  end
  return ("there is no rule '%s', so nothing is compared%s"):format(R.shadow_of, #live > 0 and nearest.hint(R.shadow_of, live) or "")
end

-- Gives each shadow rule the one that it would replace. One that is not there is no problem but a warning: a file that leaves
-- the folder must not hold up an edit of another. (And where a file has a mistake, its rule may be the one that is missing.)
local function pair_shadows(loader, rules, by_name)
  for _, R in ipairs(rules) do
    local of = R.shadow_of and by_name[R.shadow_of]
    if of and not of.is_shadow then
      R.replaces, of.is_shadowed = of, true
    elseif R.shadow_of and #loader.problems == 0 then
      local message = ("`shadow_of`: %s"):format(unpaired(R, rules, of))
      local warning = located(R.shadow_file, place_of(R.shadow_file, "shadow_of"), message)
      warning.unit = R.file
      loader.warnings[#loader.warnings + 1] = warning
    end
  end
end

function Loader:check_rule(file, definition)
  local R = {
    name = file.rule_name, file = file.name, streams = {}, matchers = {}, on_error = "dead", state_version = 1,
    clock_kind = timers.WALL,
  }
  local rule_place = place.of_rule(file.text)
  file.rule_line = rule_place.line
  local before = #self.problems
  for _, field in ipairs(ORDER) do
    if definition[field] ~= nil then FIELDS[field](self, file, R, definition[field]) end
  end
  for field in pairs(definition) do
    if not FIELDS[field] then
      local text = shown(field)
      self:field_problem(file, text, "unknown field `%s`%s", text, nearest.hint(text, ORDER))
    end
  end
  if definition.stream == nil then
    self:problem(file, rule_place, "`stream` is missing: the stream, or streams, that the rule reads")
  end
  if definition.on_event == nil then
    self:problem(file, rule_place, "`on_event` is missing: the function that is called for each event")
  end
  if definition.name == nil and R.name == RESERVED then
    self:problem(file, 1, "a rule cannot be named '%s': what shadow rules keep is called so; rename the file or set `name`",
      RESERVED)
  elseif definition.name == nil and not (#R.name <= 64 and R.name:find "^[%w_-]+$") then
    self:problem(file, 1, "the file's name makes no rule name (letters, digits, _ and -, at most 64); rename it "
      .. "or set `name`")
  end
  check_time(self, file, R)
  check_mode(self, file, R)
  if #self.problems > before then return nil end
  R.base_name, R.shadow_file = R.name, R.shadow_of and file
  if R.is_shadow then R.name = shadow_name(R.name) end
  R.merge_at = R.merge and ("%s:%d"):format(file.name, line_of(file.text, "merge") or file.rule_line)
  R.seed = self.hash(file.depends)
  R.version = ("%08x"):format(R.seed)
  R.state_at = ("%s:%d"):format(file.name, R.migrate and line_of(file.text, "migrate") or file.rule_line)
  self:warn_of_locals(file, R)
  return R
end

-- ── warnings: handlers that assign a local of the file ──────────────────────────────────────────────────────────────────

-- The opcodes that assign an upvalue, asked from the compiler itself, because their numbers differ between versions.
local function assigning_opcodes(util)
  local codes = {}
  for _, right in ipairs { "...", "'text'", "1", "nil" } do
    local f = loadstring("local up return function(...) up = " .. right .. " end")()
    for pc = 1, 10 do
      local ins = util.funcbc(f, pc)
      if not ins then break end
      local code = ins % 256
      local plain = loadstring("local up return function(...) local own = " .. right .. " end")()
      local is_new = true
      for other = 1, 10 do
        local its = util.funcbc(plain, other)
        if its and its % 256 == code then is_new = false end
      end
      if is_new then codes[code] = true end
    end
  end
  return codes
end

-- The file of this name among a rule's own and its libraries.
local function file_named(file, name)
  return name == file.name and file or file.libraries[name or ""]
end

-- Warns of the assignments in one function, and in those that it makes. `outer`: the handler's upvalues by name; what a
-- function inside of it assigns is a local of the file when the handler has it as an upvalue, too.
function Loader:warn_in_function(file, util, f, outer)
  for pc = 1, 100000 do
    local ins = util.funcbc(f, pc)
    if not ins then break end
    local name = self.assigning[ins % 256] and util.funcuvname(f, math.floor(ins / 256) % 256)
    if name and outer[name] then
      local info = util.funcinfo(f, pc)
      local written = file_named(file, info.source and info.source:match "^@(.*)") or file
      local message = ("assigns '%s', a local of the file, which may vanish at any time (reload, restart); keep it in "
        .. "ctx.state"):format(name)
      local warning = located(written, place.of_message(written.text, info.currentline, message), message)
      warning.unit = self.unit.name
      self.warnings[#self.warnings + 1] = warning
    end
  end
  for n = -1, -100000, -1 do
    local constant = util.funck(f, n)
    if constant == nil then break end
    if type(constant) == "proto" then self:warn_in_function(file, util, constant, outer) end
  end
end

function Loader:warn_of_locals(file, R)
  local found, util = pcall(require, "jit.util")
  if not found then return end
  self.assigning = self.assigning or assigning_opcodes(util)
  local handlers = { R.on_event }
  for _, name in ipairs { "when_function", "key_function", "time_function", "migrate", "merge", "on_timer", "on_window", "on_late" } do
    handlers[#handlers + 1] = R[name]
  end
  for _, f in ipairs(R.upgrades or {}) do handlers[#handlers + 1] = f end
  for _, handler in ipairs(handlers) do
    local outer = {}
    local last = util.funcinfo(handler).linedefined and 59 or -1 -- a builtin, such as `print`, has none
    for n = 0, last do
      local name = util.funcuvname(handler, n)
      if not name then break end
      outer[name] = true
    end
    if last > 0 then self:warn_in_function(file, util, handler, outer) end
  end
  table.sort(self.warnings, stands_before)
end

-- ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- What a rule may require besides its own lib.
rulebook.MODULES = { tidemill = true, ["tidemill.window"] = true }

---@class tidemill.problem
---@field file string      "cart.lua", "lib/prices.lua"; "" when it is about the whole folder
---@field line number      0: none
---@field column number?   bytes from 1 on, of the word meant; 0: unknown
---@field width number?    bytes of that word
---@field text string?     the line, as it is in the file; nil: it says nothing
---@field message string
---@field unit string      the rule file that has it (the line may stand in one of its libraries)
---@field other string?    the file that has the rule's name already

---@class tidemill.rulebook
---@field rules table[]                     in the order of their names
---@field problems tidemill.problem[]
---@field warnings tidemill.problem[]
---@field sources table<string, boolean>    chunk names of the folder's files, for tracebacks

---Loads all rules of a folder.
---@param files { name: string, text: string, libraries: table? }[]  names relative to the folder: "cart.lua",
---"lib/prices.lua", "schemas/order.lua"; a rule file without `libraries` (files by name) has those of the list
---@param options { untagged_alone: boolean, print: fun(rule: string, text: string), call: function?, on_file: function?,
---hash: (fun(text: string): number)? }  `call`: runs the chunk of a file as pcall does, within limits; `on_file`: called with the
---name of each before it is loaded; `hash`: names versions
---@return tidemill.rulebook book
function rulebook.load(files, options)
  local loader = setmetatable({ problems = {}, warnings = {}, untagged_alone = options.untagged_alone,
    print = options.print or function() end, call = options.call or pcall,
    limits = options.limits, hash = options.hash or hash }, Loader)
  local rules, by_name, sources, shared = {}, {}, {}, {}
  for _, file in ipairs(files) do
    if rulebook.is_library(file.name) then shared[file.name] = file end
  end
  for _, file in ipairs(files) do
    sources["@" .. file.name] = true
    file.libraries = file.libraries or shared
    for name in pairs(file.libraries) do sources["@" .. name] = true end
  end
  local seen = 0
  for _, file in ipairs(files) do
    if rulebook.is_rule(file.name) then
      seen, loader.unit = seen + 1, file
      if options.on_file then options.on_file(file.name) end
      local definition = loader:run_file(file)
      local R = definition and loader:check_rule(file, definition)
      local other = R and by_name[R.base_name]
      if other then
        loader:field_problem(file, "name", "a rule named '%s' is already in %s", R.base_name, other.file)
        loader.problems[#loader.problems].other = other.file
      elseif R then
        rules[#rules + 1], by_name[R.base_name] = R, R
      end
    end
  end
  if seen == 0 then
    loader.problems[1] = { file = "", unit = "", line = 0, message = "there are no rules: no file ends with .lua" }
  end
  table.sort(rules, function(a, b) return a.name < b.name end)
  pair_shadows(loader, rules, by_name)
  table.sort(loader.problems, stands_before)
  return { rules = rules, problems = loader.problems, warnings = loader.warnings, sources = sources }
end

return rulebook
