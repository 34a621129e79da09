package words

import "strings"

// stopWords carry nothing in a question or in a description of work. They are compared as stems.
var stopWords = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`a about above after again against all already also am an and another any anybody anyone
are aren as at away back be became because been before being below between both but by came can cannot cause come could
couldn did didn do does doesn doing don done down during each either else ever every everything few find first for from
further get gets getting give go goes going gone good got had hadn has hasn have haven having he hello help her here hers hi
him his how however i if in instead into is isn it its itself just keep kind know known last let like ll look make many may
maybe me might mine more most much must my need never new no nobody none nor not nothing now of off often ok on once one only
onto or other our ours out over own please possible probably problem put quite rather re really right same saw say says see
seem seems seen shall she should shouldn since so solve some somebody someone something somehow sometimes soon still such sure
take tell than thank thanks that the their theirs them then there these they thing things think this those though through thus
to together too tried tries try trying under until up upon us use used uses using ve very via want wants was wasn way we well
went were weren what when where whether which while who whose why will with within without won work works worked working would
wouldn yes yet you your yours`) {
		set[w], set[Stem(w)] = true, true
	}
	return set
}()

// Stop reports whether token is a word that tells nothing about what a text is about.
func Stop(token string) bool { return stopWords[token] }

// commonWords are frequent wherever software is written. A small memory cannot know that by itself.
var commonWords = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`add address answer api app application bug build call change check class client code command commit config connect
connection container copy create data database default delete deploy docker endpoint end error example exception fail failed field file fix
folder format function git group header host http https id image import input install item job json key library limit line link linux list load local
log login long machine main map memory message method missing model module name network node null number object old open option order output package
page parameter part path pipeline port print process production program project query read release remove request require response result return root row run
script search send server service session set setting show side size start state status stop store string system table task test text thread time
token tool type unknown update upload url user value version wait warning web window write wrong 0 1 2 3 4 5 8 10 64 100 400 404 500 8080`) {
		set[w], set[Stem(w)] = true, true
	}
	return set
}()

// Common reports whether token is a word that software is full of.
func Common(token string) bool { return commonWords[token] }
