package redact

import "regexp"

// A rule finds one form of secret. Where the pattern has a group, only the group is the secret.
type rule struct {
	keywords []string // lower case; the pattern runs only on a text that holds one of them
	pattern  *regexp.Regexp
	entropy  float64 // bits per character that the secret has at least; 0: any
}

func newRule(pattern string, entropy float64, keywords ...string) rule {
	return rule{keywords: keywords, pattern: regexp.MustCompile(pattern), entropy: entropy}
}

// issued are the formats in which services hand out credentials. Each begins with a prefix that the
// service chose so that scanners find it, hence no entropy is asked of the rest.
func issued() []rule {
	return []rule{
		newRule(`\b((?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z2-7]{16})\b`, 0, "akia", "asia", "abia", "acca", "a3t"),
		newRule(`\b(gh[pousr]_[A-Za-z0-9]{20,255})`, 0, "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
		newRule(`\b(github_pat_[A-Za-z0-9_]{22,255})`, 0, "github_pat_"),
		newRule(`\b(gl(?:pat|dt|rt|ft|soat|imt|agent|cbt|oas|ptt)-[A-Za-z0-9_=.-]{20,300})`, 0, "glpat-", "gldt-", "glrt-", "glft-",
			"glsoat-", "glimt-", "glagent-", "glcbt-", "gloas-", "glptt-"),
		newRule(`\b(sk-(?:ant|proj|svcacct|admin|or)-[A-Za-z0-9_-]{16,})`, 0, "sk-ant-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-"),
		newRule(`\b(sk-[A-Za-z0-9]{20,})\b`, 0, "sk-"),
		newRule(`\b((?:sk|rk|pk)_(?:live|test|prod)_[A-Za-z0-9]{10,255})`, 0, "k_live_", "k_test_", "k_prod_"),
		newRule(`\b(whsec_[A-Za-z0-9+/=_-]{16,})`, 0, "whsec_"),
		newRule(`\b(xox[abeoprs]-[A-Za-z0-9-]{10,})`, 0, "xox"),
		newRule(`\b(xapp-\d-[A-Za-z0-9-]{10,})`, 0, "xapp-"),
		newRule(`(https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,})`, 0, "hooks.slack.com"),
		newRule(`(https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_-]{20,})`, 0, "discord"),
		newRule(`\b(\d{8,10}:AA[A-Za-z0-9_-]{32,34})`, 0, ":aa"),
		newRule(`\b(AIza[A-Za-z0-9_-]{35})`, 0, "aiza"),
		newRule(`\b(ya29\.[A-Za-z0-9_-]{20,})`, 0, "ya29."),
		newRule(`\b(GOCSPX-[A-Za-z0-9_-]{20,})`, 0, "gocspx-"),
		newRule(`\b(1//0[A-Za-z0-9_-]{30,})`, 0, "1//0"),
		newRule(`\b(npm_[A-Za-z0-9]{30,})`, 0, "npm_"),
		newRule(`\b(pypi-[A-Za-z0-9_-]{30,})`, 0, "pypi-"),
		newRule(`\b(rubygems_[a-f0-9]{40,})`, 0, "rubygems_"),
		newRule(`\b(dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,})`, 0, "dckr_"),
		newRule(`\b(do[opr]_v1_[a-f0-9]{40,})`, 0, "_v1_"),
		newRule(`\b(hf_[A-Za-z0-9]{30,})\b`, 0, "hf_"),
		newRule(`\b(api_org_[A-Za-z0-9]{30,})\b`, 0, "api_org_"),
		newRule(`\b(r8_[A-Za-z0-9]{30,})\b`, 0, "r8_"),
		newRule(`\b(gsk_[A-Za-z0-9]{30,})\b`, 0, "gsk_"),
		newRule(`\b(xai-[A-Za-z0-9]{40,})\b`, 0, "xai-"),
		newRule(`\b(pplx-[A-Za-z0-9]{40,})\b`, 0, "pplx-"),
		newRule(`\b(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})`, 0, "sg."),
		newRule(`\b(key-[a-f0-9]{32})\b`, 0, "key-"),
		newRule(`\b([a-f0-9]{32}-us\d{1,2})\b`, 0, "-us"),
		newRule(`\b(SK[a-f0-9]{32})\b`, 0, "sk"),
		newRule(`\b(sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{20,})`, 0, "sq0"),
		newRule(`\b(EAAA[A-Za-z0-9_-]{50,})`, 0, "eaaa"),
		newRule(`\b(shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32})\b`, 0, "shpat_", "shpca_", "shppa_", "shpss_"),
		newRule(`\b(lin_(?:api|oauth)_[A-Za-z0-9]{30,})`, 0, "lin_"),
		newRule(`\b((?:secret|ntn)_[A-Za-z0-9]{40,})\b`, 0, "secret_", "ntn_"),
		newRule(`\b(figd_[A-Za-z0-9_-]{30,})`, 0, "figd_"),
		newRule(`\b(pat[A-Za-z0-9]{14}\.[a-f0-9]{64})\b`, 0, "pat"),
		newRule(`\b(PMAK-[a-f0-9]{24}-[a-f0-9]{34})\b`, 0, "pmak-"),
		newRule(`\b(dapi[a-f0-9]{32}(?:-\d)?)\b`, 0, "dapi"),
		newRule(`\b(dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{30,})`, 0, "dp."),
		newRule(`\b(dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64})\b`, 0, "dt0c01."),
		newRule(`\b(glc_[A-Za-z0-9+/=]{30,}|glsa_[A-Za-z0-9_]{32,})`, 0, "glc_", "glsa_"),
		newRule(`\b(NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|NRII-[A-Za-z0-9-]{32})\b`, 0, "nrak-", "nrjs-", "nrii-"),
		newRule(`\b(sntr[yu]s_[A-Za-z0-9+/=_-]{30,})`, 0, "sntrys_", "sntryu_"),
		newRule(`\b(phc_[A-Za-z0-9]{40,}|phx_[A-Za-z0-9]{40,})\b`, 0, "phc_", "phx_"),
		newRule(`\b(hvs\.[A-Za-z0-9_-]{20,}|hvb\.[A-Za-z0-9_-]{60,}|s\.[A-Za-z0-9]{24})\b`, 3, "hvs.", "hvb.", "vault"),
		newRule(`\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,})`, 0, ".atlasv1."),
		newRule(`\b(pul-[a-f0-9]{40})\b`, 0, "pul-"),
		newRule(`\b(pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_.=-]{30,})`, 0, "pscale_"),
		newRule(`\b(sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,})`, 0, "sbp_", "sb_secret_"),
		newRule(`\b(fo1_[A-Za-z0-9_-]{40,}|fm[12][ar]?_[A-Za-z0-9+/=]{60,})`, 0, "fo1_", "fm1", "fm2"),
		newRule(`\b(A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5})\b`, 0, "a3-"),
		newRule(`\b(ops_eyJ[A-Za-z0-9+/]{100,}={0,3})`, 0, "ops_"),
		newRule(`(AGE-SECRET-KEY-1[A-Z0-9]{58})`, 0, "age-secret-key-"),
		newRule(`\b(tskey-[a-z]+-[A-Za-z0-9-]{10,})`, 0, "tskey-"),
		newRule(`\b(cf[a-z]*_[A-Za-z0-9_-]{36,}|v1\.0-[a-f0-9]{24}-[a-f0-9]{146})\b`, 3.5, "cf", "v1.0-"),
		newRule(`\b(EZ[AT]K[A-Za-z0-9]{54})\b`, 0, "ezak", "eztk"),
		newRule(`\b(AccountKey=[A-Za-z0-9+/=]{40,})`, 0, "accountkey="),
		newRule(`\b(sig=[A-Za-z0-9%+/]{40,})`, 0, "sig="),
		newRule(`\b([a-zA-Z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})`, 0, "q~"),
		newRule(`\b(ATATT3[A-Za-z0-9_=-]{50,}|ATCTT3[A-Za-z0-9_=-]{50,}|ATBB[A-Za-z0-9]{24,})`, 0, "atatt3", "atctt3", "atbb"),
		newRule(`\b(ic://(?:join|device)/[A-Za-z0-9_=.-]{20,})`, 0, "ic://"),
	}
}

// shaped are secrets that are recognised by what stands around them.
func shaped() []rule {
	return []rule{
		newRule(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`, 0, "private key"),
		newRule(`\b(eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,3})`, 0, "eyj"),
		newRule(`[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@'"<>]*:([^\s@/'"<>]+)@`, 0, "://"),
		newRule(`(?i)\b(?:bearer|basic|token|apikey)[ \t]+([A-Za-z0-9_.~+/=-]{16,})`, 3, "bearer", "basic", "token", "apikey"),
		newRule(`(?i)\b(?:cookie|set-cookie)['"]?[ \t]*[:=][ \t]*['"]?([^\r\n'"]{8,})`, 0, "cookie"),
		newRule(`(?i)(?:--?(?:password|passwd|pass|token|secret|api-?key|auth)[= ]|-u[ ]?[A-Za-z0-9_.-]+:)['"]?([^\s'"]{6,})`, 2,
			"-pass", "-token", "-secret", "-api", "-auth", "-u"),
		newRule(`(?i)\bidentified by ['"]([^'"]+)['"]`, 0, "identified by"),
		newRule(`(?i)\bmachine \S+ login \S+ password (\S+)`, 0, "machine "),
	}
}

// assignment is a value that is given to a name which says that it is a secret.
var assignment = regexp.MustCompile(`(?i)([A-Za-z0-9_.-]{0,60}(?:secret|token|passw(?:or)?d|passphrase|passwort|pwd|api[_.-]?key|access[_.-]?key|` +
	`auth[_.-]?key|private[_.-]?key|signing[_.-]?key|encryption[_.-]?key|master[_.-]?key|account[_.-]?key|client[_.-]?secret|credentials?|` +
	`_key|-key|[a-z]Key)[A-Za-z0-9_.-]{0,30})["'\x60]?\]?[ \t]*(?:=>|:=|==|=|:)[ \t]*(?:[brf]?["'\x60])?([^\s"'\x60,;<>(){}\[\]]{6,})`)
