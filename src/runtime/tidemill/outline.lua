-- outline.lua: where in a file something stands in the table that the file returns, for messages. Never runs anything: it reads the
-- text, as far as braces, keys and blocks go.
local outline = {}

local OPENS = { ["function"] = true, ["if"] = true, ["do"] = true, ["repeat"] = true } -- `while` and `for` have their `do`
local CLOSES = { ["end"] = true, ["until"] = true }

-- Behind a comment or text that begins at `at`; nil when none does.
local function behind_text(source, at)
  local comment = source:sub(at, at + 1) == "--"
  local level = source:match("^%[(=*)%[", comment and at + 2 or at)
  if level then return select(2, source:find("]" .. level .. "]", at, true)) or #source end
  if comment then return (source:find("\n", at, true) or #source + 1) - 1 end
  local quote = source:match("^[\"']", at)
  if not quote then return nil end
  local place = at + 1
  while place <= #source and source:sub(place, place) ~= quote do
    place = place + (source:sub(place, place) == "\\" and 2 or 1)
  end
  return place
end

-- A key of a table that begins at `at`: the key, how many bytes it takes, and where its `=` is.
local function key_at(source, at)
  local name, stop, equals = source:match("^([%a_][%w_]*)()%s*()=%f[^=]", at)
  if name then return name, stop - at, equals end
  local _, quoted
  _, quoted, stop, equals = source:match("^%[%s*([\"'])([^\n\"']*)%1%s*%]()%s*()=%f[^=]", at)
  if quoted then return quoted, stop - at, equals end
  local number
  number, stop, equals = source:match("^%[%s*(%d+)%s*%]()%s*()=%f[^=]", at)
  if number then return tonumber(number), stop - at, equals end
  return nil
end

-- Calls visit(key, at, width, keys, depth) for each key of a table, with the `depth` keys that it lies below.
local function walk(source, at, visit)
  local keys, depth, frames, blocks, pending = {}, 0, {}, 0, nil
  local function close()
    local frame = table.remove(frames)
    if not frame then return end
    if frame == "block" then blocks = blocks - 1 elseif frame == "key" then depth = depth - 1 end
  end
  while at <= #source do
    local text_end = behind_text(source, at)
    local letter = source:sub(at, at)
    local key, width, equals = nil, nil, nil
    if not text_end then key, width, equals = key_at(source, at) end
    if text_end then
      at = text_end + 1
    elseif key then
      if blocks == 0 then
        visit(key, at, width, keys, depth)
        pending = key
      end
      at = equals + 1
    elseif letter:find "[%a_]" then
      local word = source:match("^[%w_]+", at)
      if OPENS[word] then
        blocks, frames[#frames + 1] = blocks + 1, "block"
      elseif CLOSES[word] then
        close()
      end
      at = at + #word
    else
      if letter == "{" and pending then
        depth = depth + 1
        keys[depth], frames[#frames + 1], pending = pending, "key", nil
      elseif letter == "{" or letter == "(" then
        frames[#frames + 1] = "plain"
      elseif letter == "}" or letter == ")" then
        close()
      elseif letter == "," or letter == ";" then
        pending = nil
      end
      at = at + 1
    end
  end
end

-- How many of the path's words are those of a key and of what it lies below; 0 when one of them is another.
local function words_met(path, key, keys, depth)
  if path[depth + 1] ~= key then return 0 end
  for n = 1, depth do
    if path[n] ~= keys[n] then return 0 end
  end
  return depth + 1
end

---Where what has this path stands in the table that the file returns at its end, such as { "event", "note", "optional" }; the keys
---of a list of functions are numbers. Also how many words of the path were found: the place is that of the last one of them.
---@param source string
---@param path (string|number)[]
---@return { line: number, column: number, width: number }|nil place, number found
function outline.place(source, path)
  local start = 1
  for at in ("\n" .. source):gmatch "\n()return%f[^%w_]" do start = at - 1 end
  local most, first, bytes = 0, nil, nil
  walk(source, start, function(key, at, width, keys, depth)
    local met = words_met(path, key, keys, depth)
    if met > most then most, first, bytes = met, at, width end
  end)
  if not first then return nil, 0 end
  local before, lines = source:sub(1, first - 1), 0
  for _ in before:gmatch "\n" do lines = lines + 1 end
  return { line = lines + 1, column = #before:match "[^\n]*$" + 1, width = bytes }, most
end

return outline
