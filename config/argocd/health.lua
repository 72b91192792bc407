-- How an object of postrider.dev fares, for Argo CD: the same for MailRelays, SendingDomains and RateLimitPolicies, and the same
-- as kstatus says (Flux, kubectl and others ask that): Healthy is Current, Degraded is Failed, Progressing is InProgress.
-- Suspended is for a relay that an admin has paused.
local metadata, status = obj.metadata or {}, obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

-- health is what Argo CD wants to know. The condition that decides says why.
local function health(name, kind, otherwise)
  local condition = conditions[kind]
  if condition == nil then
    return {status = name, message = otherwise}
  end
  return {status = name, message = condition.reason .. ": " .. (condition.message or "")}
end

if metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "It is being deleted."}
end
if status.observedGeneration ~= metadata.generation then
  return {status = "Progressing", message = "The operator has not seen the latest spec yet."}
end
if is("Reconciling") then
  return health("Progressing", "Reconciling")
end
if is("Stalled") then
  return health("Degraded", "Stalled")
end
if is("Paused") then
  return health("Suspended", "Paused")
end
if is("Ready") then
  return health("Healthy", "Ready")
end
return health("Progressing", "Ready", "There is no status yet.")
